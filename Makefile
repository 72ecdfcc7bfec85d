# Two commands do everything from a fresh clone: `make serve` and `make test`. Each sets up what it needs.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: serve test check format kills mutations soak bench constraints clean

serve: $(VENV)/.serve
	$(BIN)/antiphon serve

test: $(VENV)/.develop
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: $(VENV)/.develop
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.develop
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The long forms of tests that `make test` runs in short.
kills: $(VENV)/.develop
	ANTIPHON_KILLS=1000 $(BIN)/python -m pytest tests/faults -k crash

mutations: $(VENV)/.develop
	ANTIPHON_MUTATIONS=20000 $(BIN)/python -m pytest tests/faults -k mutations

# The versions of constraints.txt, by name, version and hash, as the tests ran with them.
constraints: $(VENV)/.develop
	$(BIN)/python tools/constraints.py > constraints.txt

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[local]'
	touch $@

$(VENV)/.develop: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,check]'
	touch $@

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache
