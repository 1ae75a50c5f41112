# SPDX-License-Identifier: MIT
# `make test` and `make demo` set up everything they need on a fresh Debian 12 or Fedora machine (as root, for the
# packages). `make dev` only prepares the checkout.

SHELL = /bin/bash
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin

.PHONY: test demo dev bench lint clean packages

test: packages dev
	tools/test

demo: packages dev
	@$(BIN)/python -m tests.lab.demo

bench: packages dev
	$(BIN)/python -m bench.helper
	$(BIN)/python -m bench.reading
	$(BIN)/python -m bench.gate
	$(BIN)/python -m bench.verify

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dev: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	tools/packages venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	touch $@

packages:
	@tools/packages lab

clean:
	rm -rf $(VENV) .venvs .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* .import_linter_cache
