# Two commands do everything from a fresh clone: `make serve` and `make test`. Each sets up what it needs.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: serve test compiler check format kills mutations test-engines requirements clean

# With voices: `piper-tts` among the requirements is GPL-3.0, and runs in a process of its own.
serve: $(VENV)/.serve
	$(BIN)/antiphon serve

test: $(VENV)/.develop compiler
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# Failing disks are simulated by a small C library; without a compiler those tests are skipped, and say so.
compiler:
	@command -v cc >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -q && apt-get install -qy --no-install-recommends gcc libc6-dev; } || true

check: $(VENV)/.develop
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.develop
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The long forms of tests that `make test` runs in short.
kills: $(VENV)/.develop compiler
	ANTIPHON_KILLS=1000 $(BIN)/python -m pytest tests/faults -k crash

mutations: $(VENV)/.develop
	ANTIPHON_MUTATIONS=20000 $(BIN)/python -m pytest tests/faults -k mutations

# The engines that teams run, each in an environment of its own, one after the other: gigabytes and minutes.
ENGINES ?= vllm litserve bentoml ray-serve kserve pytriton mlserver
ENGINES_FOLDER ?= .cache/engines
test-engines: $(VENV)/.develop
	for name in model $(ENGINES); do \
	  test -d $(ENGINES_FOLDER)/$$name || $(BIN)/python tests/engines/install.py $$name $(ENGINES_FOLDER)/$$name || exit 1; done
	ANTIPHON_ENGINES=$(ENGINES_FOLDER) $(BIN)/python -m pytest tests/engines

# The exact versions that the tests ran with, each file of each by its hash.
requirements: $(VENV)/.develop
	$(COMPILE) --extra test --extra check -o requirements/develop.txt
	$(COMPILE) --extra local --extra piper -c requirements/develop.txt -o requirements/serve.txt

COMPILE = $(BIN)/uv pip compile pyproject.toml --upgrade --generate-hashes --universal --python-version 3.11 \
	--quiet --no-annotate --no-header --no-emit-index-url

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: pyproject.toml requirements/serve.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/serve.txt
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

$(VENV)/.develop: pyproject.toml requirements/develop.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/develop.txt
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache
