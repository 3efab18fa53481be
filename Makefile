# Every target sets up what it needs: a virtual environment in .venv, made at the first run, renewed when
# pyproject.toml changes. Give PYTHON=/path/to/python to choose the interpreter.

VENV ?= .venv
OUTPUT ?= quickstart
MUTANTS ?= 200
SEED ?= 1
# make fuzz: how long, and which cases; another seed tries others.
FUZZ_SECONDS ?= 600
FUZZ_SEED ?= 1
BIN := $(VENV)/bin
# Each test process takes about 1 GB: no more than four of them.
PYTEST_WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest --numprocesses=$(PYTEST_WORKERS) --maxprocesses=4 --dist=loadfile

# One thread per process: the tests run side by side, and the package has its own threads.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help quickstart test mutants lint types docs kept bench validate dist fuzz clean

help:  ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: $(VENV)/.installed-base  ## simulate and fit the Galactic centre; replaces the results in quickstart/
	$(BIN)/pymc-gamma quickstart --output $(OUTPUT) --force

test: $(VENV)/.installed-test  ## run the tests and the examples in the docstrings
	$(PYTEST) --doctest-modules -m "not slow" pymc_gamma tests

mutants: $(VENV)/.installed-test  ## how many of MUTANTS small changes of the core do the tests notice? SEED draws others
	$(BIN)/python scripts/mutants.py --sample $(MUTANTS) --seed $(SEED)

lint: $(VENV)/.installed-lint  ## check style and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(VENV)/.installed-lint  ## check types
	$(BIN)/mypy

docs: $(VENV)/.installed-docs  ## build the documentation, notebooks executed, into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

kept: $(VENV)/.installed-docs  ## run the pages whose data do not come with the package, from PYMC_GAMMA_DATA; keeps their outputs
	$(BIN)/python docs/kept.py $$(grep -l '^kept_outputs: true' docs/tutorials/*.md)

bench: $(VENV)/.installed-test  ## measure and print the figures of README and site
	$(BIN)/python -m benchmarks

validate: $(VENV)/.installed-test  ## run the slow comparisons with gammapy and brute force, a table of figures at the end
	$(PYTEST) -m slow --junitxml=validation.xml -o junit_logging=system-out tests; status=$$?; \
	$(BIN)/python scripts/validation_table.py validation.xml && exit $$status

dist: $(VENV)/.installed-dist  ## build wheel and sdist into dist/, install the wheel into an empty environment, run the quick start there
	scripts/check_distribution.sh $(BIN)/python

fuzz: $(VENV)/.installed-test  ## read changed files for FUZZ_SECONDS (600) from FUZZ_SEED (1) on; failures in fuzz-failures/
	$(BIN)/python tests/fuzz --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED)

clean:  ## remove caches and built files; results and .venv stay
	rm -rf fuzz-failures validation.xml docs/_build docs/jupyter_execute docs/api/generated build dist .pytest_cache .mypy_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

$(VENV)/.installed-base: pyproject.toml scripts/environment.sh
	scripts/environment.sh $(VENV)
	@touch $@

$(VENV)/.installed-%: pyproject.toml scripts/environment.sh
	scripts/environment.sh $(VENV) $*
	@touch $@
