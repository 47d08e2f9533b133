# Every target does its own set-up. The environment is .venv in this checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: run test lint bench soak lock clean

run: $(STAMP)
	$(BIN)/onrecord sandbox $(ARGS)

test: lint
	tests/peers/install
	$(BIN)/python -m pytest -m "not soak" $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(STAMP)
	bench/install
	$(BIN)/python bench/run.py $(ARGS)

soak: $(STAMP)
	tests/peers/install
	$(BIN)/python -m pytest -m soak $(ARGS)

# The lock is made for the oldest supported Python, with the hash of every file.
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet pip-tools
	$(VENV)-lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
		--no-emit-find-links --extra build --extra sandbox --extra test --output-file requirements.lock pyproject.toml
	rm -rf $(VENV)-lock

# Debian keeps ensurepip, without which there is no venv, in a package of its own.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update -q && apt-get install -y -q python3-venv; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
