# Two commands do everything from a fresh clone: `make serve` and `make test`. Each sets up what it needs.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Bytecode is kept, whatever the environment says: else each of the hundreds of processes compiles what it imports.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: serve test test-long compiler browser check format docs protos kills fuzz mutations redactions parsers texts soak test-engines test-frameworks requirements clean

# With voices: `piper-tts` among the requirements is GPL-3.0, and runs in a process of its own.
serve: $(VENV)/.serve
	$(BIN)/antiphon serve

# A test that hangs is a failure after ten minutes, with the stacks of all threads, and the others go on.
test: $(VENV)/.develop compiler
	$(BIN)/python -m pytest -n 2 --dist loadgroup -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

# What would make `make test` too long: Google's and second SDKs, batches, a browser, models beyond the default ones,
# repeated deaths.
test-long: $(VENV)/.develop compiler browser
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m long

# Failing disks are simulated by a small C library, and what goes out to the network is traced; without a compiler or
# strace those tests are skipped, and say so.
compiler:
	@{ command -v cc && command -v strace; } >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -q && apt-get install -qy --no-install-recommends gcc libc6-dev strace; } || true

browser:
	@command -v chromium google-chrome >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -q && apt-get install -qy --no-install-recommends chromium; } || true

check: $(VENV)/.develop
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.develop
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The pages that are made from tables in the code.
docs: $(VENV)/.develop
	$(BIN)/python -c "from antiphon.observe import metrics; print(metrics.reference(), end='')" > docs/metrics.md

# The descriptors of Google's messages, from their definitions.
GOOGLE := src/antiphon/surfaces/google
protos: $(VENV)/.develop
	cd $(GOOGLE)/protos && $(abspath $(BIN))/uv run --no-project --with grpcio-tools==1.85.1 python -m grpc_tools.protoc -I . \
	  --include_imports --descriptor_set_out=../messages.binpb *.proto

# The long forms of tests that `make test` runs in short.
kills: $(VENV)/.develop compiler
	ANTIPHON_KILLS=1000 $(BIN)/python -m pytest tests/faults -k crash -m ""

# Property tests with examples that are new each time.
fuzz: $(VENV)/.develop
	ANTIPHON_EXAMPLES=2000 $(BIN)/python -m pytest -n 2 $$(grep -rl hypothesis tests/unit tests/wire tests/simulation --include='test_*.py')

mutations: $(VENV)/.develop
	ANTIPHON_MUTATIONS=20000 $(BIN)/python -m pytest tests/faults -k mutations

# What must be hidden, cut at every position over interims, finals, deltas and utterances.
redactions: $(VENV)/.develop
	ANTIPHON_CUTS=100000 $(BIN)/python -m pytest -n 2 tests/unit/trust/redaction/test_redaction_fuzz.py

parsers: $(VENV)/.develop
	ANTIPHON_MESSAGES=$${ANTIPHON_MESSAGES:-300000} $(BIN)/python -m pytest -n 2 tests/faults/test_parsers.py

texts: $(VENV)/.develop
	ANTIPHON_TEXTS=200000 $(BIN)/python -m pytest tests/faults/test_texts.py

# An hour of honest callers beside all attackers at once; the report is .cache/soak.json too.
soak: $(VENV)/.develop
	ANTIPHON_SOAK_S=$${ANTIPHON_SOAK_S:-3600} $(BIN)/python -m pytest -s -m "" tests/soak

# The engines that teams run, each in an environment of its own, one after the other: gigabytes and minutes.
ENGINES ?= vllm litserve bentoml ray-serve kserve pytriton mlserver
ENGINES_FOLDER ?= .cache/engines
test-engines: $(VENV)/.develop
	for name in model $(ENGINES); do \
	  test -d $(ENGINES_FOLDER)/$$name || $(BIN)/python tests/engines/install.py $$name $(ENGINES_FOLDER)/$$name || exit 1; done
	ANTIPHON_ENGINES=$(ENGINES_FOLDER) $(BIN)/python -m pytest tests/engines

# All frameworks of tests/frameworks, each in an environment of its own; `make test` runs the light ones of them.
test-frameworks: $(VENV)/.develop
	ANTIPHON_FRAMEWORKS=1 $(BIN)/python -m pytest tests/frameworks -m ""

# The exact versions that the tests ran with, each file of each by its hash.
requirements: $(VENV)/.develop
	$(COMPILE) --extra test --extra check -o requirements/develop.txt
	$(COMPILE) --extra grpc --extra local --extra oidc --extra piper --extra whisper -c requirements/develop.txt -o requirements/serve.txt

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
