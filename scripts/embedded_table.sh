#!/usr/bin/env bash
# The README's table: the base model, full fine-tuning and LoRA on the embedded model, both tasks, three seeds.
# Cost: see README.  Finished runs are kept, so it can be stopped and started again.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
$PYTHON run.py -m study=embedded-table task=sql,nli method=none,bias seed=0
$PYTHON run.py -m study=embedded-table task=sql,nli method=full seed=0,1,2
$PYTHON run.py -m study=embedded-table task=sql,nli targets=qv rank=1,8 seed=0,1,2
$PYTHON run.py -m study=embedded-table task=sql,nli targets=q rank=8 seed=0,1,2
$PYTHON scripts/embedded_table.py --study embedded-table --out results/embedded-table
