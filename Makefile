# `make up` starts Headrace, `make test` runs the tests. Both need only Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help up install install-dev test soak fuzz check format docs bench lock clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

up: install ## Start Headrace with a ready sample (ARGS="--port 9443" and the like)
	@$(BIN)/headrace up $(ARGS)

install: $(VENV)/.installed ## Make .venv with Headrace in it, from the locked set

install-dev: $(VENV)/.installed-dev ## The same with what tests and checks need

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements/runtime.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements/runtime.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements/dev.lock $(VENV)/.installed
	$(PIP) install --require-hashes -r requirements/dev.lock
	@touch $@

test: install-dev ## Run the whole test suite (ARGS="-k name" and the like)
	$(BIN)/python -m pytest $(ARGS)

soak: install-dev ## Kill processes of a loaded server a thousand times, end at every change to a file (HEADRACE_KILLS=N, ARGS)
	HEADRACE_CUTS=all HEADRACE_KILLS=$${HEADRACE_KILLS:-1000} $(BIN)/python -m pytest -o timeout=3600 \
		tests/faults/test_every_operation.py tests/faults/test_damaged_files.py tests/faults/test_kills.py $(ARGS)

fuzz: install-dev ## Run the property tests with many more and other examples
	HEADRACE_HYPOTHESIS=search $(BIN)/python -m pytest tests/fuzz tests/unit $(ARGS)

check: install-dev ## Format, lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev ## Put all code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install-dev ## Print the reference pages again from the code
	$(BIN)/python -m headrace.cli.reference docs/reference

bench: install-dev ## Run the benchmarks
	$(BIN)/python -m benchmarks.ingest --seconds 30
	$(BIN)/python -m benchmarks.query

lock: install-dev ## Resolve the locked requirements again
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --quiet --upgrade --group build pyproject.toml -o requirements/runtime.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --quiet --upgrade --group build --group dev -c requirements/runtime.lock pyproject.toml \
		-o requirements/dev.lock

clean: ## Remove what was made here
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
