# `make benchmark` and `make test` do everything from a fresh clone: virtual environment, installation, run.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
BUDGET ?= 15
SEEDS ?= 3
N ?= 1000
RECIPES ?= dense_autoencoder,vae,gan,latent_diffusion
OUT ?= runs/benchmark
# Further options of `benchmark run`, as MORE=--anyway on a machine that does other things too.
MORE ?=

# TensorFlow comes with CUDA where nvidia-smi lists a GPU. `make extras` shows the choice, EXTRAS=test,tuning overrides it.
comma := ,
GPUS := $(shell nvidia-smi -L 2>/dev/null | grep -c '^GPU ')
EXTRAS ?= test,tuning$(if $(filter-out 0,$(GPUS)),$(comma)gpu)
CHOICE = extras $(EXTRAS): TensorFlow $(if $(findstring gpu,$(EXTRAS)),with,without) CUDA (NVIDIA GPUs found: $(GPUS))
# Processes share a GPU.
export TF_FORCE_GPU_ALLOW_GROWTH ?= true

# Slow tests run in shares, another one each day. SHARE=2 overrides it.
# Eight shares, not seven: with seven, each share would keep its weekday, and one of them Sunday.
SHARES ?= 8
SHARE ?= $(shell expr $$(date +%s) / 86400 % $(SHARES) + 1)
MINUTES ?= 40

.PHONY: install extras data browser test test-slow test-all lint wheel-check benchmark docs clean FORCE

# This file changes only when the choice of extras does; then the package is installed again.
$(VENV)/.extras: FORCE
	@mkdir -p $(VENV)
	@echo "$(EXTRAS)" | cmp -s - $@ || echo "$(EXTRAS)" > $@

$(VENV)/.installed: setup.py setup.cfg pyproject.toml constraints.txt $(VENV)/.extras
	@echo "installing with $(CHOICE)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	touch $@

install: $(VENV)/.installed

extras:
	@echo "$(CHOICE)"

# The four original files, from Debian's package where apt is at hand; tests that need them say so where it is not.
data:
	@test -d /usr/share/datasets/fashion-mnist || { command -v apt-get >/dev/null && \
		apt-get update -qq && apt-get install -y -qq dataset-fashion-mnist; } || \
		echo "no Debian package dataset-fashion-mnist here: its tests will be skipped"

# The browser in which the pages are tested, Debian's where apt is at hand; its tests say so where it is not.
browser:
	@test -x /usr/bin/chromium || { command -v apt-get >/dev/null && \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } || \
		echo "no Debian package chromium here: its tests will be skipped"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Graphs and XLA without optimisation: of networks this small it takes far longer than the steps. `test-all` has it as users do.
test: install data lint
	UNOPTIMIZED=1 XLA_FLAGS=--xla_backend_optimization_level=0 $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow" --durations 10

# A share of the slow tests, for a limited time.
test-slow: install data browser
	$(BIN)/python -m pytest -n 2 --dist loadgroup --share $(SHARE)/$(SHARES) --minutes $(MINUTES) --durations 10

test-all: install data browser lint wheel-check
	$(BIN)/python -m pytest -n 2 --dist loadgroup --durations 20

# A wheel, installed in an environment of its own and used outside the checkout.
wheel-check: install
	bash scripts/check_wheel.sh $(BIN)/python

benchmark: install
	$(BIN)/python -m benchmarks run --recipes $(RECIPES) --budget $(BUDGET) --seeds $(SEEDS) --n $(N) --out $(OUT) $(MORE)
	$(BIN)/python -m benchmarks report $(OUT)

# Sphinx comes beside the chosen extras, so that the next `make test` finds nothing to install anew.
$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

# The site, in build/docs/index.html. A dead link or a missing reference fails.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W --keep-going -E -b html docs build/docs

clean:
	rm -rf $(VENV) $(LOWEST) build dist *.egg-info

# The lowest versions that setup.cfg declares, in an environment of their own. Python 3.11, the oldest, has wheels of them all.
LOWEST ?= .venv-lowest
LOWEST_PYTHON ?= python3.11

.PHONY: test-lowest

$(LOWEST)/.installed: setup.py setup.cfg pyproject.toml constraints-lowest.txt
	$(LOWEST_PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable ".[test,tuning]"
	touch $@

test-lowest: $(LOWEST)/.installed data
	$(LOWEST)/bin/python -m pytest -n 2 --dist loadgroup -m "not slow" --durations 10
