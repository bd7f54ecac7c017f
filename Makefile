# The virtual environment is created when it is needed, and updated when setup.py changes.
PYTHON ?= python3
# Each process gets one half of the tests, so that a fixture which several tests share is built once.
PYTEST_ARGS ?= -n 2 --dist worksteal -rs

BIN := .venv/bin
STAMP := .venv/.installed

# An environment of its own: xplique, for the proofs against peers, needs TensorFlow <= 2.20.
BENCH_STAMP := .venv-bench/.installed

OLDEST_STAMP := .venv-oldest/.installed
DOCS_STAMP := .venv-docs/.installed
WHEEL_BIN := .venv-wheel/bin

.PHONY: demo test test-all test-bench test-oldest test-scale test-wheel bench bench-quick docs lint clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-all: $(STAMP)
	$(BIN)/python -m pytest -m "not wheel" $(PYTEST_ARGS)

# Runs that are killed and resumed, and clusters of several nodes.
test-scale: $(STAMP)
	$(BIN)/python -m pytest -m "slow or not slow" tests/scale

bench-quick: $(STAMP)
	$(BIN)/python -m benchmarks quality --quick

bench: $(STAMP)
	$(BIN)/python -m benchmarks quality

# With the tests that need xplique and Quantus, which 'make test' skips.
test-bench: $(BENCH_STAMP)
	.venv-bench/bin/python -m pytest -m "slow or not slow" tests/benchmarks tests/adapters

# With the oldest TensorFlow and Keras that are supported.
test-oldest: $(OLDEST_STAMP)
	.venv-oldest/bin/python -m pytest $(PYTEST_ARGS)

# What users install: the wheel in a fresh environment, without the checkout on Python's path.
test-wheel:
	rm -rf build/lib build/bdist.* build/wheel .venv-wheel
	$(PYTHON) -m venv .venv-wheel
	$(WHEEL_BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	$(WHEEL_BIN)/python -m pip install --quiet "$$(echo build/wheel/tf_learnprop-*.whl)[zoo]" pytest
	$(WHEEL_BIN)/pytest --override-ini pythonpath= -m wheel tests/wheel

docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .venv-bench .venv-oldest .venv-docs .venv-wheel build dist results served *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so that an interrupted installation is resumed.
$(STAMP): EXTRA = test
$(BENCH_STAMP): EXTRA = bench
$(OLDEST_STAMP): EXTRA = oldest
$(STAMP) $(BENCH_STAMP) $(OLDEST_STAMP): setup.py
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --editable ".[$(EXTRA)]"
	touch $@

# mkdocs reads the docstrings without importing the package, so TensorFlow is not needed.
$(DOCS_STAMP): docs/requirements.txt
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --requirement docs/requirements.txt
	touch $@
