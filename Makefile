# Every target does its own set-up. The environment is .venv in this checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
# Tests wait more than they work: for programs that start, for deadlines, for the disk.
PROCESSES ?= 4
# The tests start the program hundreds of times; it is not to be compiled each time, whatever the caller's habits are.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test lint bench soak peers ensurepip lock clean

run: $(STAMP)
	$(BIN)/onrecord sandbox $(ARGS)

# Packages are installed while the environment is set up and the code is looked at.
test:
	$(MAKE) --no-print-directory --jobs=2 peers lint
	$(BIN)/python -m pytest -m "not soak" --numprocesses $(PROCESSES) $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(STAMP)
	bench/install
	$(BIN)/python bench/run.py $(ARGS)

soak: peers $(STAMP)
	$(BIN)/python -m pytest -m soak $(ARGS)

# The lock is made for the oldest supported Python, with the hash of every file.
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet pip-tools
	$(VENV)-lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
		--no-emit-find-links --extra build --extra sandbox --extra test --output-file requirements.lock pyproject.toml
	rm -rf $(VENV)-lock

peers: ensurepip
	tests/peers/install

# Debian keeps ensurepip, without which there is no venv, in a package of its own. What installs packages runs one after
# the other, for apt-get does not wait.
ensurepip:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update -q && apt-get install -y -q python3-venv; }

$(STAMP): requirements.lock pyproject.toml | ensurepip
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
