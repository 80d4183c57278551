# `make benchmark` and `make test` do everything from a fresh clone: virtual environment, installation, run.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
BUDGET ?= 30
RECIPES ?= dense_autoencoder,autoencoder,vae,laplace_vae
OUT ?= runs/benchmark

.PHONY: install data test test-all lint wheel-check benchmark clean

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,tuning]"
	touch $@

install: $(VENV)/.installed

# The four original files, from Debian's package where apt is at hand; tests that need them say so where it is not.
data:
	@test -d /usr/share/datasets/fashion-mnist || { command -v apt-get >/dev/null && \
		apt-get update -qq && apt-get install -y -qq dataset-fashion-mnist; } || \
		echo "no Debian package dataset-fashion-mnist here: its tests will be skipped"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# XLA without optimisation: of networks this small the compilation takes far longer than the steps. `test-all` has it as users do.
test: install data lint
	XLA_FLAGS=--xla_backend_optimization_level=0 $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow" --durations 10

test-all: install data lint wheel-check
	$(BIN)/python -m pytest -n 2 --dist loadgroup --durations 20

# A wheel, installed in an environment of its own and used outside the checkout.
wheel-check: install
	bash scripts/check_wheel.sh $(BIN)/python

benchmark: install
	$(BIN)/python -m benchmarks run --recipes $(RECIPES) --budget $(BUDGET) --out $(OUT)
	$(BIN)/python -m benchmarks report $(OUT)

clean:
	rm -rf $(VENV) build dist *.egg-info
