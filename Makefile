# Everything runs in .venv, which is made when it is needed: Python 3.11 or later and make are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
LONG ?= 10
# So many tests of single modules run side by side; they wait more than they compute.
SIDE_BY_SIDE ?= -n 4 --dist loadgroup
UNIT_TESTS := tests/asgi_spec tests/interface_server tests/worker
EXAMPLES := examples/chat examples/mqtt

.DEFAULT_GOAL := help

.PHONY: help
help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

.PHONY: demo
demo: $(VENV)/.installed  ## Run the chat on http://127.0.0.1:8000/ (ARGS="--port 9000" and so on)
	@exec $(BIN)/python scripts/demo.py $(ARGS)

.PHONY: test
test: $(VENV)/.dev  ## Run all tests that this machine can run, and say what was left out
	$(BIN)/python -m pytest -q -rs $(ARGS)
	for example in $(EXAMPLES); do (cd $$example && ../../$(BIN)/python -W error manage.py test) || exit 1; done
	@$(BIN)/python scripts/services.py report

.PHONY: journeys
journeys: $(VENV)/.dev  ## Only the tests with real processes
	$(BIN)/python -m pytest -q -rs tests/journeys $(ARGS)

.PHONY: faults
faults: $(VENV)/.dev  ## Only the faults under load: Redis, floods, slow readers (HEADRACE_FULL=1 for full sizes)
	$(BIN)/python -m pytest -q -rs tests/faults $(ARGS)

.PHONY: matrix
matrix:  ## The tests of single modules on every Python with every Django, and with the oldest redis-py (ARGS="--list")
	@$(PYTHON) scripts/matrix.py $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.dev  ## Only the tests with random input, LONG=10 times as long, with new seeds
	$(BIN)/python -m pytest -q -m seeds --long=$(LONG) $(UNIT_TESTS) tests/both_tiers $(ARGS)

.PHONY: house
house: $(VENV)/.dev  ## What a reader feels, in figures: sizes, circles, names, private names of others
	$(BIN)/python -m pytest -q -s tests/test_house.py

.PHONY: lint
lint: $(VENV)/.dev  ## Style and types: ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.dev  ## Let ruff format and sort
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: coverage
coverage: $(VENV)/.dev  ## The tests of single modules, and what they reach: with floors (ARGS="tests/worker" for some)
	$(BIN)/coverage erase
	$(BIN)/python -m pytest -q -rs $(SIDE_BY_SIDE) --cov --cov-report= $(or $(ARGS),$(UNIT_TESTS))
	$(BIN)/coverage report --skip-covered
	$(BIN)/coverage json -q -o .coverage.json
	$(if $(ARGS),,$(BIN)/python scripts/coverage_floor.py .coverage.json)

.PHONY: explore
explore: $(VENV)/.dev  ## Run the Redis scripts in every order of several processes, and check what must hold
	$(BIN)/python -m tests.explore $(ARGS)

.PHONY: bench
bench: $(VENV)/.dev  ## Measure; benchmarks/README.md says what and how
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: services
services:  ## Install what is not a Python package (Redis, Chromium, nginx, …) from the distribution
	@$(PYTHON) scripts/services.py install

.PHONY: dev
dev: $(VENV)/.dev  ## Make .venv with everything for development

.PHONY: wheel
wheel: $(VENV)/.dev  ## Build the wheel, install it into an empty environment and serve the demo from it
	$(BIN)/python scripts/check_wheel.py

.PHONY: clean
clean:  ## Remove .venv, builds and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .matrix .bench

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Headrace needs Python 3.11 or later, and this is %s. Say which one to use: make PYTHON=python3.12 …" % sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.installed: setup.py pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e ".[all]"
	@touch $@

$(VENV)/.dev: $(VENV)/.installed requirements/dev.txt requirements/test.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/dev.txt
	@touch $@
