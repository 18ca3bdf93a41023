# `make demo` and `make test` set everything up by themselves, in .venv.
.PHONY: setup demo test test-all lint bench clean
.DEFAULT_GOAL := demo

PYTHON ?= python3
BIN := .venv/bin

setup: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed (make PYTHON=...)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# Tests run side by side, a process a core; torch's own threads would only get in their way.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

test-all: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ''

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: setup
	$(BIN)/python examples/demo.py

bench: setup
	$(BIN)/python -m benchmarks.bench

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
