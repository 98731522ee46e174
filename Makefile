# Everything that a person does with the checkout. `make help` lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?=
VENV := .venv
BIN := $(VENV)/bin
# images that set it have every process compile our modules anew, and pytest all tests
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show what can be done
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Headwater needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another with: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up the environment in $(VENV) (about 150 MB to fetch, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --progress-bar on --require-hashes -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: setup
setup: $(VENV)/.installed ## Set up the environment and fetch the servers (once)
	@$(BIN)/headwater fetch

.PHONY: run
run: setup ## Run a whole hub on this machine (PORT=9090, HEADWATER_HOME=/some/folder move it)
	@exec $(BIN)/headwater up $(if $(PORT),--port $(PORT))

.PHONY: test
test: setup ## Run all tests on real servers, three files at once
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: lint
lint: $(VENV)/.installed ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: type
type: $(VENV)/.installed ## Check types
	$(BIN)/mypy

.PHONY: audit
audit: ## Look for known vulnerabilities in what the lock names (asks pypi.org)
	@test -x .audit/bin/pip-audit || { $(PYTHON) -m venv .audit && .audit/bin/pip install --disable-pip-version-check --quiet pip-audit==2.10.1; }
	.audit/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock

.PHONY: bench
bench: setup ## Measure each stage against its floor, in 20 minutes (docs/performance.md)
	$(BIN)/python -m bench

FAULTS ?=
EVENTS ?=
SEED ?=
MINUTES ?=
CHAOS = $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(EVENTS),--events $(EVENTS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(REPORT),--report $(REPORT))

.PHONY: chaos
chaos: setup ## Break a hub in every way and balance its books (SEED, FAULTS, EVENTS, MINUTES, REPORT)
	$(BIN)/python -m tests.chaos $(CHAOS)

.PHONY: migrate
migrate: $(VENV)/.installed ## Bring the database to the present schema (HEADWATER_DATABASE_URL, or the running hub's)
	$(BIN)/headwater migrate

.PHONY: lock
lock: ## Renew requirements.lock (needs uv)
	uv pip compile --universal --generate-hashes --group dev --python-version 3.11 --no-header -q pyproject.toml -o requirements.lock

.PHONY: clean
clean: ## Remove what was built here (keeps .headwater, the data)
	rm -rf $(VENV) .audit dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.headwater/*' -exec rm -rf {} +
