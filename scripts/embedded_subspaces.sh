#!/usr/bin/env bash
# README's figure and everything in results/subspaces: LoRA on W_q and W_v of the embedded model at r = 4, 8 and
# 64, two seeds, and full fine-tuning, then the analysis of Section 7.2 and 7.3.
# SEEDS=0,1,2 for more than two seeds.  Cost: about ten minutes on two cores.  Finished runs are kept.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
SEEDS=${SEEDS:-0,1}
$PYTHON run.py -m study=subspaces targets=qv rank=4,8,64 seed="$SEEDS"
$PYTHON run.py -m study=subspaces targets=qv method=full seed="$SEEDS"
$PYTHON -m analysis all --study subspaces
