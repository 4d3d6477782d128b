# Serin: everything a person types while working on it. `make` alone explains.
# Needs Python 3.11+ with pip, and make; everything else is installed into .venv from locked, hash-checked lists.

SHELL  := /bin/sh
PYTHON ?=
ARGS   ?=
PARTS  ?= unit docs packaging integration conformance hostile e2e peers
BIN    := .venv/bin
ENTER  := $(BIN)/python
PIP    := $$(cat .venv/.pip) --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help run demo test test-slow test-peers lint check format bench bench-peers figures models docs proto lock sbom clean

help:
	@echo 'Serin: serve versions of ONNX models, split traffic among them, see what each predicts.'
	@echo
	@echo '  make run        start it on the sample models (ARGS="--workers 4" adds flags; ARGS=--help lists them)'
	@echo '  make demo       two rollouts with real rows and labels, on free ports; ends by itself'
	@echo '  make test       all tests but the slow ones; says what it skips (PARTS="unit e2e": these of tests/ alone)'
	@echo '  make check      what must be green before a push: make lint, unit and docs tests'
	@echo '  make lint       format, lint, types and import contracts, without a test'
	@echo
	@echo '  make test-slow  the slow tests: simulations, faults, Kubernetes manifests, promtool'
	@echo '  make test-peers clients and servers of others, each in an environment of its own, which it makes first'
	@echo '  make format     let ruff rewrite the sources'
	@echo '  make bench      the short load tests; prints the numbers of this machine'
	@echo '  make bench-peers  the long ones, beside MLServer and KServe in environments of their own (20 minutes)'
	@echo '  make figures    the same, into the table of docs/performance.md and the picture of the README'
	@echo '  make models     train and export the sample models again (seeded)'
	@echo '  make docs       write the generated tables of docs/ from the code'
	@echo '  make proto      write the message descriptors of service/pb/ from its .proto'
	@echo '  make lock       renew requirements*.lock from pyproject.toml (needs uv)'
	@echo '  make sbom       write what Serin is made of (CycloneDX) from requirements.lock to sbom.cdx.json'
	@echo '  make clean      remove .venv, caches and .serin (the state of make run)'
	@echo
	@echo 'PYTHON=/path/to/python3 chooses the interpreter that .venv is made with.'

# ---- what runs ------------------------------------------------------------------------------------------------------

run: .venv/.runtime
	@exec $(BIN)/serin serve --models models --state .serin $(ARGS)

demo: .venv/.runtime
	@$(ENTER) -m loadtests.demo $(ARGS)

bench: .venv/.dev
	@$(ENTER) -m loadtests.run short $(ARGS)
	@$(ENTER) -m loadtests.guard

bench-peers: .venv/.dev
	-@$(ENTER) -m loadtests.peers
	@$(ENTER) -m loadtests.run peers --minutes 20 $(ARGS)

figures: .venv/.dev
	-@$(ENTER) -m loadtests.peers
	@rm -f loadtests/results/figures.jsonl
	-@$(ENTER) -m loadtests.run peers --minutes 20 --seconds 3 --rounds 5 --save-to loadtests/results/figures.jsonl $(ARGS)
	@$(ENTER) -m loadtests.figures loadtests/results/figures.jsonl

models: .venv/.dev
	@$(ENTER) models/train.py $(ARGS)

docs: .venv/.dev
	@$(ENTER) -m tests.docs.generated

proto: .venv/.dev
	@$(ENTER) -m tests.unit.service.pb.generate

# ---- what proves ----------------------------------------------------------------------------------------------------

# The tests start hundreds of processes: compiled code is kept for the next one, whatever the shell says.
test test-slow test-peers check: export PYTHONDONTWRITEBYTECODE :=

# Each part in a process of its own: what one leaves behind cannot reach the next. Exit code 5: none was chosen.
test: .venv/.dev
	@failed=0; for part in $(PARTS); do echo "== tests/$$part"; \
	  $(ENTER) -m pytest -q -m 'not slow' tests/$$part $(ARGS) || [ $$? = 5 ] || failed=1; done; exit $$failed
	@echo 'Not run here: tests marked slow (make test-slow).'

test-slow: .venv/.dev
	@$(ENTER) -m pytest -q -m slow tests $(ARGS)

test-peers: .venv/.dev
	-@$(ENTER) -m loadtests.peers
	@$(ENTER) -m pytest -q tests/peers $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(ENTER) -m pytest -q -m 'not slow' tests/unit tests/docs $(ARGS)

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# ---- the environment ------------------------------------------------------------------------------------------------
# Each file below is a stamp: while it is newer than the lock, nothing is installed again.

.venv/.runtime: .venv/.home requirements.lock pyproject.toml
	@echo 'Installing what Serin needs into .venv (once) ...'
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
# A start takes a third less with compiled code, which a shell may forbid Python to keep.
	@$(ENTER) -m compileall -q router service
	@touch $@

.venv/.dev: .venv/.runtime requirements-dev.lock
	@echo 'Installing what the tests need into .venv (once) ...'
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

# A .venv does not survive a move of the checkout; made elsewhere, it is made again.
ifneq ($(shell cat .venv/.home 2>/dev/null),$(CURDIR))
.PHONY: .venv/.home
endif
.venv/.home:
	@.ci/make-venv "$(PYTHON)"

# ---- upkeep ---------------------------------------------------------------------------------------------------------

LOCK = uv pip compile pyproject.toml --generate-hashes --no-emit-index-url --universal --python-version 3.11 \
       --no-annotate --custom-compile-command 'make lock' --quiet

lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv on the PATH; nothing else does.' >&2; exit 2; }
	$(LOCK) --extra build --extra grpc -o requirements.lock
	$(LOCK) --extra build --extra grpc --extra dev --extra train -c requirements.lock -o requirements-dev.lock

sbom: .venv/.dev
	@$(ENTER) -m tests.packaging.sbom $(ARGS)

clean:
	rm -rf .venv .serin build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
