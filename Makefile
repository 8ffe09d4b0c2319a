# `make demo` and `make test` are all that a fresh machine needs: each installs what it lacks and says so.
# On Debian or Ubuntu as root that includes system packages; elsewhere you are told exactly what to install.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Without bytecode pytest compiles every test anew, and every worker that a test starts all it imports.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
PARTS := $(BIN)/python -m worker.demo.parts
PYTEST_ARGS ?=
CHAOS_ARGS ?=
FLEET_ARGS ?=
BENCH_ARGS ?=
BENCH_RESULTS ?=

.PHONY: help venv demo test unit fuzz model bench bench-plot chaos fleet lint format services services-down clean pins picture

help: ## these lines
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

venv: $(VENV)/.installed ## virtual environment with the pinned packages

demo: $(VENV)/.installed ## the whole path on this machine: one submission, its statuses, its scores
	@$(BIN)/python -m worker demo

test: lint ## lint and every test, with the real parts up; stops what it started
	@echo "test: the whole suite"
	@$(PARTS) run -- $(BIN)/python -m tests.suite $(PYTEST_ARGS)

unit: $(VENV)/.installed ## tests that need nothing but Python
	@echo "unit: tests without I/O"
	@$(BIN)/python -m pytest -q tests/unit $(PYTEST_ARGS)

fuzz: $(VENV)/.installed ## hostile input for every reader, FUZZ_SECONDS (20) each; a find is printed with how to repeat it
	@$(BIN)/python -m tests.fuzz

model: $(VENV)/.installed ## the model of leases and ends, MODEL_SECONDS (60) of orders of events that nobody has tried
	@$(BIN)/python -m tests.model

bench: $(VENV)/.installed ## latency, rates, memory and costs over the floor; BENCH_ARGS="--only small,big" takes a part
	@$(PARTS) run -- $(BIN)/python -m tests.bench $(BENCH_ARGS)

bench-plot: $(VENV)/.installed ## the curves of the newest results, or of BENCH_RESULTS, as a PNG beside them
	@$(BIN)/python -m tests.bench.plot $(BENCH_RESULTS)

chaos: $(VENV)/.installed ## three workers, 200 runs, and everything breaks at random; CHAOS_ARGS="--seed 7" repeats one
	@$(PARTS) run -- $(BIN)/python -m tests.chaos $(CHAOS_ARGS)

fleet: $(VENV)/.installed ## 16 workers on hosts of their own, 2,000 runs: throughput, evenness, what the broker bears; FLEET_ARGS="--workers 4"
	@$(PARTS) run -- $(BIN)/python -m tests.fleet $(FLEET_ARGS)

lint: $(VENV)/.installed ## ruff, mypy and the import contract
	@echo "lint: ruff check"; $(BIN)/ruff check --quiet --output-format concise .
	@echo "lint: ruff format --check"; $(BIN)/ruff format --quiet --check .
	@echo "lint: mypy --strict"; $(BIN)/mypy --no-error-summary
	@echo "lint: import contract"; $(BIN)/lint-imports --no-logo >/tmp/lint-imports.$$$$ 2>&1 \
	  && rm -f /tmp/lint-imports.$$$$ || { cat /tmp/lint-imports.$$$$; rm -f /tmp/lint-imports.$$$$; exit 1; }

picture: $(VENV)/.installed ## docs/images anew: the demo on a terminal, and the status page of a real worker in a real browser
	@$(PARTS) run -- $(BIN)/python -m pytest -q tests/acceptance/test_monitoring.py -k browser
	@mkdir -p docs/images && cp test-results/status-page.png docs/images/
	@$(PARTS) run -- $(BIN)/python -m tests.support.terminal

format: $(VENV)/.installed ## put the code in ruff's format
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .

services: $(VENV)/.installed ## bring up RabbitMQ, a Docker engine, Azurite and a registry, and leave them up
	@$(PARTS) up

services-down: $(VENV)/.installed ## stop what `make services` started
	@$(PARTS) down

pins: $(VENV)/.installed ## write constraints/*.txt anew from pyproject.toml
	@echo "pins: newest versions that pyproject.toml allows, with hashes"
	@$(COMPILE) --upgrade --output-file constraints/runtime.txt pyproject.toml
	@$(COMPILE) --upgrade --extra dev --output-file constraints/dev.txt pyproject.toml
	@$(COMPILE) --upgrade --no-annotate --python-version 3.11 --output-file constraints/build.txt \
	  <(sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml)
	@$(COMPILE) --upgrade --no-annotate --python-version 3.11 --output-file constraints/gpu.txt \
	  <(sed -n 's/^gpu = \["\(.*\)"\].*/\1/p' pyproject.toml)

clean: ## stop the services, remove the virtual environment and what the tools left (the cache of big downloads stays)
	@if [ -x $(BIN)/python ]; then $(PARTS) down || true; fi
	@echo "clean: virtual environment, caches, builds"
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header

# --- the virtual environment ------------------------------------------------------------------------------------------

# Made anew when the pins change, so that nothing older lingers in it; the project itself is installed editable.
# uv, one of the pins, installs the others in 5 s where pip takes 40 s; pip does it where uv cannot (it heeds no pip.conf).
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --require-hashes
$(VENV)/.pinned: constraints/dev.txt
	@python=$$($(FIND_PYTHON)); \
	echo "venv: $$($$python --version), the packages of constraints/dev.txt, in $(VENV)"; \
	rm -rf $(VENV); $$python -m venv $(VENV); \
	$(PIP) --no-deps --requirement <(awk '/^[^ #]/ { uv = /^uv==/ } uv' constraints/dev.txt); \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement constraints/dev.txt 2>/dev/null \
	  || $(PIP) --requirement constraints/dev.txt
	@touch $@

$(VENV)/.installed: $(VENV)/.pinned pyproject.toml
	@echo "venv: codalab-worker itself, editable"
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation -e .
	@touch $@

# Prints the first Python that will do; on Debian and Ubuntu root gets python3-venv installed where it is missing.
define FIND_PYTHON
usable() { "$$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }; \
find() { for p in $${PYTHON:-} python3 python3.11 python3.12 python3.13 python3.14 /usr/bin/python3; do \
  if usable "$$p"; then command -v "$$p"; return; fi; done; return 1; }; \
find && exit; \
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
  echo "venv: apt-get install python3 python3-venv" >&2; \
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    python3 python3-venv; } >/dev/null 2>&1 || true; \
  find && exit; \
fi; \
echo "venv: Python 3.11 or newer with its venv module is needed: install it (Debian, Ubuntu: python3-venv)," \
  "or name one: make PYTHON=/path/to/python3.11" >&2; exit 1
endef
