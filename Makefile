# Everything runs from .venv, which is set up from the locks in requirements/ and only when one of them, pyproject.toml
# or the interpreter changed. `make PYTHON=python3.13 test` chooses the interpreter.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 15
	@echo 'PYTHON=… chooses the interpreter (3.11 or newer); ARGS=… is handed to the command.'

demo: .venv/run.stamp ## start a gateway, send it files and show what arrived
	$(BIN)/h2gate demo $(ARGS)

test: .venv/dev.stamp ## run the tests, several files at once; ARGS="-n 0 tests/wire" for some of them, in one process
	$(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

fuzz: .venv/fuzz.stamp ## search ten minutes for what breaks; ARGS="--seconds 60 form archive" for less
	$(BIN)/python -m tests.fuzz.run $(ARGS)

check: .venv/dev.stamp ## format, lint, types, and what is known of the locked packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(BIN)/python requirements/audit.py

audit: .venv/dev.stamp ## ask whether a locked package is known to be vulnerable
	@$(BIN)/python requirements/audit.py

build: .venv/dev.stamp ## make the sdist, the wheel and the bill of materials in dist/
	@$(BIN)/python requirements/bill.py dist

format: .venv/dev.stamp ## rewrite the sources as `check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: bench-peers ## the comparison: HTTP/2, HTTP/1.1, and what people would use instead; at most 60 minutes, root for the links
	$(BIN)/python -m loadtest.run compare $(ARGS)

bench-quick: bench-peers ## the same in small, at most 5 minutes
	$(BIN)/python -m loadtest.run compare --quick $(ARGS)

bench-gate: .venv/dev.stamp ## compare what an upload costs, as a ratio to nginx, with the last good figures
	$(BIN)/python -m loadtest.run gate $(ARGS)

# What cannot be had is named by the run as skipped.
bench-peers: .venv/dev.stamp ## install the servers that are put beside it
	@$(PIP) install --only-binary :all: --require-hashes -r requirements/peers.txt || echo 'no gunicorn or granian: skipped'
	@cd loadtest/tus && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || echo 'no @tus/server: skipped'

bench-upload: .venv/dev.stamp ## load test: large uploads
	$(BIN)/python -m loadtest.run upload $(ARGS)

bench-small: .venv/dev.stamp ## load test: many small files
	$(BIN)/python -m loadtest.run small $(ARGS)

bench-auth: .venv/dev.stamp ## load test: what it costs to ask who sends
	$(BIN)/python -m loadtest.run auth $(ARGS)

bench-wan: .venv/dev.stamp ## load test: a path with delay
	$(BIN)/python -m loadtest.run wan $(ARGS)

bench-client: .venv/dev.stamp ## load test: h2gate put beside curl, rclone and tar
	$(BIN)/python -m loadtest.run files $(ARGS)

bench-crowd: .venv/dev.stamp ## load test: who gets how much, and how long small requests wait, when many send
	$(BIN)/python -m loadtest.run shares $(ARGS)
	$(BIN)/python -m loadtest.run health $(ARGS)

soak: .venv/dev.stamp ## twenty minutes of mixed load with cuts, resets and kills; nothing may be left of it
	$(BIN)/python -m loadtest.run soak $(ARGS)

bench-attacks: .venv/dev.stamp ## load test: an honest upload beside attacks
	$(BIN)/python -m loadtest.run attacks $(ARGS)

lock: .venv/made ## write the locks anew; ARGS=--upgrade takes newer versions
	@sh requirements/lock.sh $(ARGS)

clean: ## remove .venv, caches and what was built
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz dist
	rm -rf tests/tus/node_modules tests/oidc/node_modules loadtest/tus/node_modules
	find h2gate loadtest tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock of the tests holds the one of the gateway, and the build backend: no package comes without a hash.
.venv/run.stamp: .venv/made requirements/run.txt pyproject.toml
	@echo 'installing h2gate into .venv'
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	@echo 'installing the test tools into .venv'
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# Guided by coverage where there is a wheel for that; without one the search goes on all the same.
.venv/fuzz.stamp: .venv/dev.stamp requirements/fuzz.txt
	@$(PIP) install --only-binary :all: --require-hashes -r requirements/fuzz.txt || echo 'no atheris: not guided by coverage'
	@touch $@

# Looked at every time, and made anew only where PYTHON is another version than .venv or where .venv lost its own.
.venv/made: FORCE
	@sh requirements/venv.sh $(PYTHON)

FORCE:

.PHONY: help demo test fuzz check audit build format bench bench-quick bench-gate bench-peers bench-upload bench-small bench-wan bench-client bench-crowd bench-attacks soak lock clean FORCE
