# make sweep   set-up and the main job: LoRA on W_q and W_v at rank 1, 2, 4 and 8, then a table of the four runs
# make reproduce   set-up, then every run, table and figure of the paper on the embedded model, into results/embedded;
#                  SEEDS=1 is the short version, WORKERS=n other than one process a core
# make test    set-up and the whole test suite
# make check   linting and types
# make notebooks   set-up, then executes notebooks/*.py and writes the .ipynb beside each
PYTHON ?= python3
VENV ?= .venv
SEEDS ?= 5
WORKERS ?=
RUN := $(VENV)/bin/python

help:
	@sed -n 's/^# //p' Makefile

sweep: $(VENV)/installed
	$(RUN) run.py -m rank=1,2,4,8 targets=qv

reproduce: $(VENV)/installed
	$(RUN) scripts/reproduce.py --study embedded --seeds $(SEEDS) $(if $(WORKERS),--workers $(WORKERS))
	$(RUN) -m analysis archive --study embedded --out results/embedded/runs

test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses auto

check: $(VENV)/installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

notebooks: $(VENV)/installed-dev
	$(RUN) scripts/run_notebooks.py

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed, {sys.executable} is {v.major}.{v.minor}; give another with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV)

.PHONY: help sweep reproduce test check notebooks clean
