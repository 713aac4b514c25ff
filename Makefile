# The two commands: make quickstart, make test. Both make .venv from the lock file when it is missing or stale.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/cpu.txt
STAMP := $(VENV)/.installed

.PHONY: help install quickstart test fast lint clean

help:
	@echo "make quickstart   install, then the main job end to end with small real models; prints the result table"
	@echo "make test         install, then format, lint, types and all tests"
	@echo "make fast         the tests without models and clusters (about two minutes)"
	@echo "make lint         format, lint and types only"
	@echo "make clean        remove the environment, the prepared weights and the runs"

install: $(STAMP)

$(STAMP): $(LOCK) requirements/vision.txt requirements/install.sh
	@bash requirements/install.sh "$(PYTHON)" "$(VENV)" "$(LOCK)"

quickstart: $(STAMP)
	@$(BIN)/python launch.py run configs/quickstart.yaml

test: lint
	$(BIN)/python -m pytest

fast: $(STAMP)
	$(BIN)/python -m pytest -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .cache runs
