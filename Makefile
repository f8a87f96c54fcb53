# Two commands for a newcomer: `make up` and `make test`. Each makes its own environment first.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(or $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c '$(SUPPORTED)' 2>/dev/null && { echo $$p; break; }; done),python3)
ARGS ?=

.PHONY: help up test test-unit test-integration test-faults test-faults-long test-system lint bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/.local ## run everything on this machine (ARGS="--catalogue FILE --rate 100")
	@$(BIN)/yousync up $(ARGS)

test: $(VENV)/.dev ## every test: unit, property, integration, faults, system
	@$(BIN)/python -m pytest $(ARGS)

test-unit: $(VENV)/.dev ## the tests that need no server, in seconds
	@$(BIN)/python -m pytest tests/unit tests/property tests/architecture $(ARGS)

test-integration: $(VENV)/.dev ## the suites and integration tests on the real Kafka and MongoDB
	@$(BIN)/python -m pytest tests/suites tests/integration $(ARGS)

test-faults: $(VENV)/.dev ## kill real processes and compare with the oracle
	@$(BIN)/python -m pytest tests/fault $(ARGS)

test-faults-long: export YOUSYNC_STORM_SECONDS ?= 3600
test-faults-long: $(VENV)/.dev ## an hour of seeded storms (YOUSYNC_STORM_SECONDS, YOUSYNC_STORM_SEED, YOUSYNC_STORM_LOOP)
	@$(BIN)/python -m pytest -s tests/fault/test_storm.py $(ARGS)

test-system: $(VENV)/.dev ## the black-box tests around `yousync up`
	@$(BIN)/python -m pytest tests/system $(ARGS)

lint: $(VENV)/.dev ## ruff, mypy, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@for example in examples/*/*.py; do $(BIN)/mypy $$example || exit 1; done
	@$(BIN)/lint-imports

bench: $(VENV)/.bench ## the benchmarks, ours and a baseline side by side
	@for b in bench/bench_*.py bench/producer_month.py bench/read_api.py; do $(BIN)/python -m bench.$$(basename $$b .py) $(ARGS) || exit 1; done

lock: $(VENV)/.dev ## resolve pyproject.toml into requirements/*.txt, hashed
	@for set in runtime:--extra=build tracing:--extra=build,--extra=tracing local:--extra=build,--extra=local dev:--extra=build,--extra=local,--extra=tracing,--extra=dev bench:--extra=build,--extra=local,--extra=tracing,--extra=dev,--extra=bench; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	    $$(echo $${set#*:} | tr ',' ' ') pyproject.toml -o requirements/$${set%%:*}.txt || exit 1; done

clean: ## remove the environment and everything that runs left behind
	@rm -rf $(VENV) .yousync .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage build dist *.egg-info
	@find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.%: requirements/%.txt pyproject.toml
	@$(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { echo "YouSync needs Python 3.11, 3.12 or 3.13, and $(or $(PYTHON),this machine) is none of them: install one, or name it with 'make $(firstword $(MAKECMDGOALS)) PYTHON=/path/to/python3.12'." >&2; exit 2; }
	@echo "Installing $* requirements into $(VENV) (about a minute the first time)"
	@$(BIN)/python -c '$(SUPPORTED)' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
