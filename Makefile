# Every target brings what it needs into being first; on a bare machine that takes Python 3.11+, make and a package index.

PYTHON := $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python3.14,$(shell command -v $(name))))
ifeq ($(PYTHON),)
$(error upwell needs Python 3.11 or newer and found none; on Debian: apt install python3 python3-venv)
endif

ENVIRONMENT := $(PYTHON) deploy/workspace/bootstrap.py
BIN := .venv/bin
SOURCES := shared/src deploy/local/src deploy/workspace $(wildcard services/*/src) tests
JAVA = $(shell java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
PYTEST_ARGS ?=
LOCK_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo dev test test-isolated test-kafka test-faults check check-format check-lint check-types check-imports check-locks \
	check-hygiene bench lock format clean

help:                 ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

ARGS ?=
demo: dev             ## a whole programme, played on everything started here; ARGS="--once", "--people 2000 --seed 7", "--help"
	@$(BIN)/upwell demo $(ARGS)

dev:                  ## the environment alone: .venv with every package of the workspace and the tests' tools
	@$(ENVIRONMENT) dev

test: dev test-isolated   ## all tests but those that need Apache Kafka; PYTEST_ARGS="-k word" narrows them
	@$(BIN)/python -m pytest -m "not kafka" $(PYTEST_ARGS)

test-isolated:        ## every package imports with its own dependencies only (part of make test)
	@$(ENVIRONMENT) isolated

test-kafka: java dev  ## the tests that run on Apache Kafka: needs Java 17+ and Maven
	@$(BIN)/python -m pytest -m kafka $(PYTEST_ARGS)

RUNS ?= 1000
test-faults: dev       ## RUNS other random programs with crashes than the 200 of make test; SEED=… repeats a run
	@UPWELL_MODEL_PROGRAMS=$(RUNS) $(BIN)/python -m pytest tests/shared/test_model.py -s $(if $(SEED),--hypothesis-seed=$(SEED)) $(PYTEST_ARGS)

.PHONY: java
java:
	@if ! command -v mvn >/dev/null || [ "$(or $(JAVA),0)" -lt 17 ]; then \
		echo "test-kafka needs Java 17 or newer and Maven; on Debian: apt install default-jre-headless maven" >&2; exit 2; fi

check: check-format check-lint check-types check-imports check-locks check-hygiene   ## format, lint, types, imports, locks, hygiene
	@echo "check: all clean"

check-format: dev
	@echo "== format"; $(BIN)/ruff format --check .

check-lint: dev
	@echo "== lint"; $(BIN)/ruff check .

check-types: dev
	@echo "== types"; $(BIN)/mypy $(SOURCES)

check-imports: dev
	@echo "== imports"; $(BIN)/lint-imports --no-logo

check-locks: dev
	@echo "== locks"; $(BIN)/python deploy/workspace/locks.py check && echo "locks are those of their inputs"

check-hygiene: dev
	@echo "== hygiene"; $(BIN)/python deploy/workspace/hygiene.py

bench:                ## benchmarks against floors measured in the same run; minutes
	@$(ENVIRONMENT) bench
	@.venvs/bench/bin/python -m tests.bench

lock:                 ## write requirements/*.txt after a dependency changed; LOCK_ARGS=--upgrade moves every version
	@$(ENVIRONMENT) uv
	@$(BIN)/python deploy/workspace/locks.py write $(LOCK_ARGS)

format: dev           ## let ruff put the code in shape
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:                ## remove environments and caches
	rm -rf .venv .venvs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find shared deploy services tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
