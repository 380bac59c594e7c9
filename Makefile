# make demo: set up, then two photos segmented with the trained preset.
# make demo-train: set up, then the whole system once from nothing, ending with an overlay and a table.
# make test: the test suite. make coverage: the same, slower, and what of the package it runs.
# All share one .venv, made from constraints.txt when it is missing.
PYTHON ?= python3
BIN := .venv/bin
TESTS := --numprocesses 2 --dist loadfile tests
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo demo-train test coverage lint clean

.venv/.run: setup.cfg constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[train,demo]'
	touch $@

# Model Garden alone: what the tests use of it needs none of its 63 dependencies (650 MB).
.venv/.dev: .venv/.run
	$(INSTALL) --editable '.[all]'
	$(INSTALL) --no-deps tf-models-official
	touch $@

demo: .venv/.run
	$(BIN)/python trainers/demo.py --out runs/demo

demo-train: .venv/.run
	$(BIN)/python trainers/demo_train.py --out runs/demo-train

test: .venv/.dev
	$(BIN)/python -m pytest $(TESTS)

# Apart from the tests: Python 3.11 calls the tracer at every line, of AutoGraph's work too.
coverage: .venv/.dev
	$(BIN)/python -m pytest $(TESTS) --cov cmask_tf --cov-fail-under 85

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --diff .
	$(BIN)/mypy

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache .coverage
