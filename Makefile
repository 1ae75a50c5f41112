# SPDX-License-Identifier: MIT
# `make test` and `make demo` set up everything they need on a fresh Debian 12 or Fedora machine (as root, for the
# packages). `make dev` only prepares the checkout. `make install` and `make uninstall` need none of that; tools/install
# says what they take (DESTDIR, PREFIX, PYTHON, …).

SHELL = /bin/bash
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
SELINUX_MAKEFILE = /usr/share/selinux/devel/Makefile

.PHONY: test demo dev bench lint clean packages install uninstall man selinux rpm

test: packages dev
	tools/test

demo: packages dev
	@$(BIN)/python -m tests.lab.demo

bench: packages dev
	$(BIN)/python -m bench.helper
	$(BIN)/python -m bench.reading
	$(BIN)/python -m bench.gate
	$(BIN)/python -m bench.hooks
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

# Without a PYTHON of the caller's these take /usr/bin/python3, whatever python3 on PATH is.
install:
	@tools/install install

uninstall:
	@tools/install uninstall

man: dev
	$(BIN)/python tools/man_pages.py install/certwitness.conf build/man

selinux:
	mkdir -p build/selinux
	cp install/selinux/certwitness.?? build/selinux
	$(MAKE) -C build/selinux -f $(SELINUX_MAKEFILE) certwitness.pp

# RPMFLAGS: more for rpmbuild, such as --with selinux.
rpm:
	rm -rf build/rpm
	mkdir -p build/rpm/SOURCES
	git ls-files -z --cached --others --exclude-standard | tar --create --gzip --null --files-from - \
		--transform 's,^,certwitness-$(VERSION)/,S' --file build/rpm/SOURCES/certwitness-$(VERSION).tar.gz
	rpmbuild -bb --define '_topdir $(CURDIR)/build/rpm' $(RPMFLAGS) install/certwitness.spec

clean:
	rm -rf build $(VENV) .venvs .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* .import_linter_cache
