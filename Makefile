# Each target does its own set-up: Python 3.11+ and make are enough.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PIN := uv pip compile --universal --python-version 3.11 --upgrade --generate-hashes --no-header --quiet

# What is installed for development has all that the others need.
INSTALLED := $(wildcard .venv/dev)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR: # such as a .venv that lacks pip, where Debian's python3-venv is missing
.PHONY: help up prod test check format bench chaos docs fuzz lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

up: $(or $(INSTALLED),$(wildcard .venv/prod),.venv/run) ## Run the built-in stack: gateway on http://127.0.0.1:8000
	@$(BIN)/micro up --dev $(ARGS)

prod: $(or $(INSTALLED),.venv/prod) ## Run it on PostgreSQL, Kafka and Valkey, which it brings, a process for each service
	@$(BIN)/micro up --prod --infra $(ARGS)

test: .venv/dev ## Run every test; ARGS='-k tail' narrows
	$(BIN)/python -m pytest $(ARGS)

check: .venv/dev ## Format, lint, types, import direction, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/validate-pyproject pyproject.toml

format: .venv/dev ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/dev ## Measure what the README claims; ARGS=gateway for all about the gateway
	$(BIN)/python -m benchmarks $(ARGS)

chaos: .venv/dev ## Do to a whole stack on real servers what can go wrong, for twenty minutes; ARGS=F4 narrows
	$(BIN)/python tests/system/faults $(ARGS)

docs: .venv/dev ## Execute every command and snippet of README and docs
	$(BIN)/python -m pytest tests/docs $(ARGS)

fuzz: .venv/dev ## Look for bytes that are read in two ways; ARGS='heads -max_total_time=600' narrows
	@$(INSTALL) --require-hashes -r requirements/fuzz.lock
	$(BIN)/python tests/fuzz $(ARGS)

lock: ## Pin the newest versions, by hash and without addresses (needs uv)
	$(PIN) pyproject.toml -o requirements/run.lock
	$(PIN) pyproject.toml --extra prod --extra infra -o requirements/prod.lock
	$(PIN) pyproject.toml --extra prod --extra infra --group dev -o requirements/dev.lock
	$(PIN) --group fuzz -o requirements/fuzz.lock

clean: ## Remove what the targets above made, except .micro
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* htmlcov build dist

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or newer; install one, or name it: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/run: pyproject.toml requirements/run.lock | .venv/bin/python
	@echo "Installing into .venv (once) …"
	@$(INSTALL) --require-hashes -r requirements/run.lock
	@$(INSTALL) --no-deps --editable .
	@touch $@

.venv/prod: pyproject.toml requirements/prod.lock | .venv/bin/python
	@echo "Installing drivers and servers into .venv (once) …"
	@$(INSTALL) --require-hashes -r requirements/prod.lock
	@$(INSTALL) --no-deps --editable .
	@touch $@

.venv/dev: pyproject.toml requirements/dev.lock | .venv/bin/python
	@echo "Installing the development tools into .venv (once) …"
	@$(INSTALL) --require-hashes -r requirements/dev.lock
	@$(INSTALL) --no-deps --editable .
	@touch $@
