# The virtual environment is made on demand, and anew when setup.py changes.
PYTHON ?= python3
PYTEST_ARGS ?= -n 2

BIN := .venv/bin
STAMP := .venv/.installed

# xplique, for the peers' methods, allows no TensorFlow above 2.20.
BENCH_STAMP := .venv-bench/.installed

.PHONY: demo test test-all test-bench bench bench-quick lint clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-all: $(STAMP)
	$(BIN)/python -m pytest -m "slow or not slow" $(PYTEST_ARGS)

bench-quick: $(BENCH_STAMP)
	.venv-bench/bin/python benchmarks/quality.py --quick

bench: $(BENCH_STAMP)
	.venv-bench/bin/python benchmarks/quality.py

# The tests of what the benchmarks compare with, which 'make test' skips for lack of xplique.
test-bench: $(BENCH_STAMP)
	.venv-bench/bin/python -m pytest -m "slow or not slow" tests/benchmarks

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv .venv-bench build dist results served *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp comes last, so that an interrupted installation is taken up again.
$(STAMP): EXTRA = test
$(BENCH_STAMP): EXTRA = bench
$(STAMP) $(BENCH_STAMP): setup.py
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --editable ".[$(EXTRA)]"
	touch $@
