# `make demo` and `make test` set everything up by themselves, in .venv.
.PHONY: setup demo test test-all lint bench evidence weights clean
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

# Hours; it may be stopped and goes on. EVIDENCE='--recipe gpu --data-root DIR', say.
evidence: setup
	$(BIN)/python -m benchmarks.evidence $(EVIDENCE)

# The network in the box, made again: hours of one core. FRAMES is a folder of folders of frames.
FRAMES ?= $(error say FRAMES=folder, the frames that textures are cut from)
weights: setup
	$(BIN)/autoflow search --target davis --no-train --out runs/weights/search
	$(BIN)/autoflow train --chain configs/train/s-af-small.toml --out runs/weights/train \
	    --hyperparameters runs/weights/search --top 3 --target davis --name s-af-small \
	    $(foreach n,1 2 3,--set $(n).training.photographs=$(FRAMES))
	$(BIN)/selfflow export --model s-af-small --average s-af-small-2 --to safetensors \
	    --out runs/weights/s-af-small.safetensors

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
