"""python -m analysis"""

import sys

from analysis.commands import main
from experiments.terminal import spoken

if __name__ == "__main__":
    sys.exit(spoken(main))
