"""The report: one page with a study's verdicts, tables, figures, learning curves, costs and provenance.

    python -m analysis report --study NAME      # results/NAME/report.html, and its summary on W&B

The page needs no network and no script. It holds what the other commands make, or says what a study lacks for
it.
"""

from analysis.report.page import make
from analysis.report.publishing import publish

__all__ = ["make", "publish"]
