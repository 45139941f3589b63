# Two commands to begin with: `make demo` shows the product, `make test` proves it. Both need Python >= 3.11 and make.
# PYTHON picks the interpreter, VENV the place of the environment; pip's own settings (PIP_…, pip.conf) hold as usual.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
unexport PYTHONDONTWRITEBYTECODE  # start-up is spent on imports: let them be compiled once

ok = import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14 python; do \
	"$$p" -c '$(ok)' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin

# A stamp bears the sum of what it was installed from: a changed lock, not a newer date, makes the set-up run again.
sum = $(firstword $(shell cat $(1) | cksum))
RUN_STAMP := $(VENV)/.run-$(call sum,requirements.lock requirements-build.lock pyproject.toml)
DEV_STAMP := $(VENV)/.dev-$(call sum,requirements-dev.lock pyproject.toml)
PIP_INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet

SCHEMA := config/schema/iclient-proxy.schema.json

.PHONY: help setup demo check test accelerate mutants record chaos nightly fuzz bench scoreboard schema reference sbom \
	docs lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(DEV_STAMP) ## make .venv with all that development needs, from the hash-pinned locks

demo: $(RUN_STAMP) ## watch an ordinary HTTP client get through to an API it has no token for
	@$(BIN)/iclient-proxy demo

check: $(DEV_STAMP) ## lint, format, types, import floors, security lint, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@said=$$($(BIN)/bandit --quiet --recursive --configfile pyproject.toml proxy 2>&1) || { echo "$$said"; exit 1; }
	@test "$$($(BIN)/iclient-proxy schema)" = "$$(cat $(SCHEMA))" || { echo "$(SCHEMA) is not current: make schema"; exit 1; }

test: $(DEV_STAMP) ## run every test that this machine has the tools for, and name the others
	$(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST)

accelerate: $(DEV_STAMP) ## compile the data path, in place (needs a C compiler and Python's headers)
	$(BIN)/python hatch_build.py

mutants: $(DEV_STAMP) ## put mistakes into the security modules, one at a time: do the tests notice?
	ICLIENT_PROXY_PURE=1 $(BIN)/python -m tests.mutants $(MUTANTS)

sbom: $(DEV_STAMP) ## write what a running proxy is made of, as CycloneDX, to build/sbom.json
	$(BIN)/python -m pages.sbom build/sbom.json
record: $(DEV_STAMP) ## run the cases of the catalogue and write what they saw into its page
	$(BIN)/python -m pytest -n auto --dist loadfile -m case --record $(PYTEST)
	$(BIN)/python -m pages

chaos: $(DEV_STAMP) ## kill, starve, crowd and pause proxies for an hour (needs strace, redis-server)
	$(BIN)/python -m tests.chaos $(CHAOS)

nightly: $(DEV_STAMP) ## what takes too long for every change: all cases beside traffic, cuts, canaries, soak
	$(BIN)/python -m tests.nightly $(NIGHTLY)

# Where atheris has no wheel, targets run on mutants of their seeds and say so.
fuzz: $(DEV_STAMP) ## spoil HTTP and all other input, and judge what comes of it (needs node)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP_INSTALL) --require-hashes --only-binary=:all: --no-deps -r requirements-fuzz.lock || true
	$(BIN)/python -m tests.fuzz $(FUZZ)

bench: $(DEV_STAMP) ## measure the proxy beside its peers (needs wrk, nginx, haproxy)
	$(BIN)/python -m bench $(BENCH)

scoreboard: $(DEV_STAMP) ## put the proxy and its peers before the same faults, and write docs/scoreboard.md
	$(BIN)/python -m bench.scoreboard $(SCOREBOARD)

schema: $(DEV_STAMP) ## write the JSON Schema for editors anew
	$(BIN)/iclient-proxy schema > $(SCHEMA)

reference: $(DEV_STAMP) ## write the reference pages anew: keys, commands, codes, metrics
	$(BIN)/python -m pages

docs: $(DEV_STAMP) ## build the documentation as a site, in build/site
	$(BIN)/mkdocs build --strict

UV = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock' $(UPGRADE)
lock: $(DEV_STAMP) ## resolve the locks anew (UPGRADE=--upgrade to move to newer versions)
	$(UV) pyproject.toml --all-extras -o requirements.lock
	$(UV) --group build -o requirements-build.lock -c requirements.lock
	$(UV) --group accelerate -o requirements-accelerate.lock -c requirements.lock -c requirements-build.lock
	$(UV) pyproject.toml --all-extras --group dev -o requirements-dev.lock -c requirements.lock -c requirements-build.lock -c requirements-accelerate.lock
	$(UV) --group bench -o requirements-bench.lock
	$(UV) --group fuzz -o requirements-fuzz.lock

clean: ## remove what was made here
	find proxy -name "*.so" -delete
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: put it on PATH, or say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c '$(ok)' || { echo "$(PYTHON) is older than Python 3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "This Python can't make environments (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): | $(BIN)/python
	@echo "Setting up $(VENV) (once; about a minute)"
	$(PIP_INSTALL) --require-hashes --only-binary=:all: -r requirements.lock -r requirements-build.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.run-* && touch $@

$(DEV_STAMP): | $(BIN)/python
	@echo "Setting up $(VENV) (once; about a minute)"
	$(PIP_INSTALL) --require-hashes --only-binary=:all: -r requirements-dev.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.dev-* $(VENV)/.run-* && touch $@ $(RUN_STAMP)
