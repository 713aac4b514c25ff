# The two commands: make quickstart, make test. Both make .venv from the lock file when it is missing or stale.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/cpu.txt
STAMP := $(VENV)/.installed
# Set in many containers. The tests start hundreds of interpreters, which would all compile the same sources.
unexport PYTHONDONTWRITEBYTECODE

# More than two cores need: the tests on a cluster mostly wait. Each worker that has any starts a cluster of its own.
WORKERS ?= 3
PYTEST = -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=40

.PHONY: help install bfcl quickstart test fast test-python coverage mutants screenshots lint schemas clean

help:
	@echo "make quickstart   install, then the main job end to end with small real models; prints the result table"
	@echo "make test         install, then format, lint, types and all tests"
	@echo "make fast         the tests without models and clusters"
	@echo "make test-python PYTHON=python3.13   the tests that need no torch, by another Python, in an environment of its own"
	@echo "make coverage     all tests, and the share of lines that they run, in all processes"
	@echo "make mutants      plants faults in copies of the code; do the fast tests see them? (SEED=1: others)"
	@echo "make bfcl         the Berkeley leaderboard's package in an environment of its own, for benchmarks/berkeley.py"
	@echo "make screenshots  of the report page in docs/, from the run of RUN=runs/...; needs the package chromium"
	@echo "make schemas      writes configs/schemas, after a change of a model or of docs/configuration.md"
	@echo "make lint         format, lint and types only"
	@echo "make clean        remove the environment, the prepared weights and the runs"

install: $(STAMP)

$(STAMP): $(LOCK) requirements/vision.txt requirements/install.sh
	@bash requirements/install.sh "$(PYTHON)" "$(VENV)" "$(LOCK)"

# The Berkeley leaderboard's package, in an environment of its own; the tests that ask it make it, too, or are skipped.
bfcl: $(STAMP)
	@bash requirements/bfcl.sh $(BIN)/python .cache/bfcl

quickstart: $(STAMP)
	@$(BIN)/python launch.py run configs/quickstart.yaml

test: lint
	$(BIN)/python $(PYTEST)

# As many workers as the smallest machine has cores: these tests wait for nothing.
fast: WORKERS := 2
fast: $(STAMP)
	$(BIN)/python $(PYTEST) -m "not slow"

# cpu.txt is of one Python; base.txt has the same versions for the others, without torch and what needs it.
test-python:
	@bash requirements/test_python.sh "$(PYTHON)" ".cache/$(notdir $(PYTHON))" -n $(WORKERS) --dist loadfile

# Of the lines that any process of the tests runs, also one that runs a run's copy of the code.
coverage: $(STAMP)
	rm -rf .cache/coverage
	$(BIN)/python -m coverage run $(PYTEST)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

mutants: $(STAMP)
	$(BIN)/python -m tests.mutants --seed $(or $(SEED),0)

# Of a finished run's report page, for docs/report.md, by Debian's package chromium.
screenshots: $(STAMP)
	@$(BIN)/python -m tests.browser $(RUN)

# JSON Schemas for editors, from the models and docs/configuration.md.
schemas: $(STAMP)
	$(BIN)/python -m tests.schemas

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .cache runs
