# Every target creates what it needs in .venv; only python3, make and git are expected.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

.PHONY: demo test oldest sweep bench models families mixtures lint clean
.DEFAULT_GOAL := test

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/ready
	$(BIN)/net2net demo --output demo

test: .venv/ready
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# The oldest torch that pyproject.toml claims, on plans and the public contract.
oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check torch==2.6.0 pytest transformers --editable .
	.venv-oldest/bin/python -m pytest tests/plan/test_file.py tests/plan/test_saved.py tests/plan/test_noise.py tests/test_contract.py -W default

sweep: .venv/ready
	$(BIN)/python -m pytest -n $(JOBS) -m sweep -W default

bench: .venv/ready
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/hybrids.py
	$(BIN)/python benchmarks/checkpoint.py
	$(BIN)/python benchmarks/sharded.py

models: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m zoo.table docs/models.md

families: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m zoo.checkpoints docs/families.md

mixtures: .venv/ready
	PYTHONPATH=tests $(BIN)/python -m zoo.mixtures

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo
