#!/usr/bin/env bash
# The README's table: the base model, full fine-tuning and LoRA on the embedded model, both tasks.
# SEEDS=0 for one seed.  Cost: see README.  Finished runs are kept, so it can be stopped and started again.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
SEEDS=${SEEDS:-0,1,2}
export OMP_NUM_THREADS=1  # another number of threads adds in another order
sweep() { $PYTHON run.py -m study=embedded-table task=sql,nli seed="$SEEDS" "$@"; }
sweep method=none,bias,full
sweep targets=qv rank=1,8
sweep targets=q rank=8
$PYTHON scripts/embedded_table.py --study embedded-table --out results/embedded-table
# README's base model on 6,000 pairs of nli.
$PYTHON run.py study=embedded-base task=nli method=none task.test=6000
