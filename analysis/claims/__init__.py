"""The claims of the paper's Section 7, and some made since, judged one by one on a study.

    from analysis.claims import judge

    for found in judge(selection, margin=1.0):      # a Judgement for each claim and task
        print(found.claim, found.verdict, found.value, found.low, found.high)

From runs to verdict: `accuracy`, `subspaces`, `weights` and `truncation` hold the paper's claims, `since`,
`learning_rates` and `forgetting` those made since, each a function that makes Evidence (`evidence`) of what
its source has measured; `catalogue` registers them and decides, by one rule for
all; `judgement` is what comes out, and `table` shows it. A claim with several parts (W_q and W_v, r = 4 and
r = 64) is supported where every part is, and contradicted where one is.
"""

import pkgutil
from importlib import import_module

from analysis.claims.catalogue import CLAIMS, Claim, claim, judge
from analysis.claims.judgement import Judgement

__all__ = ["CLAIMS", "Claim", "Judgement", "claim", "judge"]

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
