# `make run` starts the playground, `make test` runs the tests; both set up what is missing. See CONTRIBUTING.md.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: help setup run test test-all lint bench pictures clean

help:
	@echo 'make run        set up and start the playground; ARGS="--port 9000 --no-browser" goes to tensorview'
	@echo 'make test       set up and run the tests, but for those marked slow'
	@echo 'make test-all   all tests'
	@echo 'make lint       ruff and mypy'
	@echo 'make bench      measure; prints one JSON object'
	@echo 'make pictures   make every picture of the README and the docs'
	@echo 'make clean      remove what building and testing left behind'
	@echo 'Another Python: make run PYTHON=python3.12. To set up anew, remove $(VENV).'

setup: $(VENV)/.installed

run: $(VENV)/.installed
	@exec $(BIN)/tensorview $(ARGS)

test: $(VENV)/.installed-for-tests
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-all: $(VENV)/.installed-for-tests
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-for-tests
	@$(BIN)/python -m benchmarks $(ARGS)

pictures: $(VENV)/.installed-for-tests
	$(BIN)/python tools/make_pictures.py $(ARGS)

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit("tensorview needs Python 3.10 or later; name one: make run PYTHON=python3.12" if sys.version_info < (3, 10) else 0)'
	@PYTHON=$(PYTHON) tools/system_packages.sh venv
	$(PYTHON) -m venv --clear $(VENV)

# Built with the pinned setuptools of the environment itself, so that a second build downloads nothing.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	@echo 'Installing into $(VENV): torch and VTK are large, the first time takes minutes on a slow line.'
	$(PIP) install -c constraints.txt setuptools
	$(PIP) install -c constraints.txt --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-for-tests: $(VENV)/.installed
	$(PIP) install -c constraints.txt --no-build-isolation -e ".[test]"
	@PYTHON=$(BIN)/python tools/system_packages.sh opengl chromium
	@touch $@
