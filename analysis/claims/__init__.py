"""The claims of the paper's Section 7, judged one by one on a study.

    from analysis.claims import judge

    for found in judge(selection, margin=1.0):      # a Judgement for each claim and task
        print(found.claim, found.verdict, found.value, found.low, found.high)

Each claim is one function in `accuracy` (7.1 and 7.2), `subspaces` (7.2) or `weights` (7.3) that gathers its
evidence; `catalogue` decides, by one rule for all. A claim with several parts (W_q and W_v, r = 4 and r = 64)
is supported where every part is, and contradicted where one is.
"""

from analysis.claims.catalogue import CLAIMS, Claim, judge
from analysis.claims.judgement import Judgement

__all__ = ["CLAIMS", "Claim", "Judgement", "judge"]
