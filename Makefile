# make demo: set up and write real clips    make test: set up and run the tests    make lint: style and types
# Needs only make and Python >= 3.11; choose one with PYTHON=python3.12.

SHELL := /bin/bash
.DEFAULT_GOAL := demo
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT := out

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	@mkdir -p $(OUT)
	$(BIN)/happyhorse generate "a red ball bounces on wood" --seed 7 --overwrite -o $(OUT)/ball.mp4
	$(BIN)/happyhorse generate "a white horse trots across cobbles" --seed 7 --overwrite -o $(OUT)/horse.mp4
	$(BIN)/happyhorse generate 'a woman with red hair in front of a blue wall says "bonjour" in French' --seed 7 --overwrite -o $(OUT)/talker.mp4
	@echo "Clips with sound: $(abspath $(OUT))/*.mp4"

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf $(VENV) $(OUT) build dist .pytest_cache .ruff_cache

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) was not found; install Python 3.11 or newer, or run: make PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old; 3.11 or newer is needed. Choose one: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: this Python lacks venv or pip; install them (Debian, Ubuntu: apt-get install python3-venv python3-pip)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed
