# transport_trio: `make run` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Stamps record what is installed: the second run touches no network.
RUN_STAMP := $(VENV)/.run-installed
DEV_STAMP := $(VENV)/.dev-installed
PEERS_STAMP := $(VENV)/.peers-installed
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --quiet pyproject.toml --extra embedded --group build

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: run
run: $(RUN_STAMP) ## Run the service with its own sandbox and NATS: no account needed
	@$(BIN)/transport-trio serve --sandbox $(ARGS)

.PHONY: dev
dev: $(DEV_STAMP) ## Install what tests, benchmarks and examples need, and run nothing

.PHONY: test
test: $(DEV_STAMP) ## Run every test and tell the branch coverage; ARGS="-k presence" runs some, without
ifeq ($(strip $(ARGS)),)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n 3 --dist loadfile
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --fail-under=95
else
	@$(BIN)/python -m pytest $(ARGS)
endif

.PHONY: lint
lint: $(DEV_STAMP) ## Check style and types
	@$(BIN)/ruff check --no-cache .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

.PHONY: test-tools
test-tools: $(PEERS_STAMP) ## Run the tests that need more than Python (Debian: chromium, prometheus, faketime, gcc)
	@$(BIN)/python -m pytest -m "browser or tools" $(ARGS)

.PHONY: check-metrics
check-metrics: $(RUN_STAMP) ## Start a service and have promtool judge its metrics (Debian: prometheus)
	@$(BIN)/python deploy/prometheus/check_metrics.py

.PHONY: bench
bench: $(PEERS_STAMP) ## Measure all beside other servers, 30 minutes (gcc, npm): tables, JSON, plots; ARGS=--record keeps
	@mkdir -p benchmarks/results
	@for name in fan_out tls connect_listeners latency joins rest resume live_sessions presence create_sessions relay_backlog; do \
		echo "== $$name" && $(BIN)/python benchmarks/$$name.py --json benchmarks/results/$$name.json \
			--plot benchmarks/results/$$name.png $(ARGS) || exit 1; done

.PHONY: conformance
conformance: $(DEV_STAMP) ## Hold what we rely on of Daily against Daily (DAILY_API_KEY, DAILY_DOMAIN), else the sandbox
	@$(BIN)/python -m pytest tests/contract --conformance $(ARGS)

.PHONY: drills
drills: $(DEV_STAMP) ## Try every promise under faults, some ten minutes; ARGS="kill_anytime --short" for some
	@$(BIN)/python -m drills $(ARGS)

.PHONY: lock
lock: ## Pin the dependencies anew (needs uv and the network)
	$(LOCK) --output-file requirements/run.txt
	$(LOCK) --group dev --constraint requirements/run.txt --output-file requirements/dev.txt
	$(LOCK) --group dev --group peers --constraint requirements/dev.txt --output-file requirements/peers.txt
	cd benchmarks/peers && npm install --package-lock-only --omit-lockfile-registry-resolved

.PHONY: clean
clean: ## Remove the virtual environment and every cache
	rm -rf $(VENV) build dist src/*.egg-info .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else \
		f"Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.13 ...")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "no virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(RUN_STAMP): requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing the pinned dependencies into $(VENV) ..."
	@$(PIP) install --quiet --require-hashes -r requirements/run.txt
	@$(PIP) install --quiet --no-build-isolation --no-deps -e .
	@touch $@

$(DEV_STAMP): requirements/dev.txt $(RUN_STAMP)
	@echo "Installing the pinned test tools into $(VENV) ..."
	@$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

$(PEERS_STAMP): requirements/peers.txt $(DEV_STAMP)
	@echo "Installing what the benchmarks compare with into $(VENV) ..."
	@$(PIP) install --quiet --require-hashes -r requirements/peers.txt
	@touch $@
