# `make` lists the commands. Everything runs from .venv, which `make env` keeps equal to requirements.lock.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
STAMP := .venv/.installed
# The caller's platform settings must not change what a test sees.
CLEAN := unset $$(compgen -A variable -X '!OVCHAT_*') OVCHAT_;

# Where this is set, every process would compile torch and transformers anew: 11 s instead of 5 to import them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help env browser prometheus run test lint format types pytest bench large families chaos conversion-chaos compose-test lock sbom audit clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

env: $(STAMP) ## make .venv from the lock file (Python 3.11 or 3.12)

$(STAMP): requirements.lock $(wildcard deploy/locks/stack-*.lock) deploy/locks/overrides.txt pyproject.toml deploy/bin/bootstrap deploy/bin/stacks
	@deploy/bin/bootstrap
	@touch $@

browser: ## install the Chromium of the page's tests and CJK fonts (root, Debian)
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-noto-cjk >/dev/null

# Unpacked, not installed: Debian's package would start it as a service.
prometheus: ## get the Prometheus that the alerts are tested with into .cache (Debian)
	mkdir -p .cache/prometheus
	cd .cache/prometheus && apt-get download -qq prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb

run: $(STAMP) ## start the whole platform on this machine with the demo model; Ctrl-C stops it
	@exec $(BIN)/ovchat up

test: lint types pytest ## lint, types and all tests

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## ruff: mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

pytest: $(STAMP) ## all tests; ARGS="tests/unit -k word" for some
	$(CLEAN) $(BIN)/python -m pytest $(ARGS)

BENCHES ?= conversion chat cancel load
bench: $(STAMP) ## print the benchmarks' figures (minutes; nothing else should run); BENCHES=load ARGS=--short for one
	$(CLEAN) for bench in $(BENCHES); do $(BIN)/python -m tests.bench.$${bench}_bench $(ARGS); done

large: $(STAMP) ## a model of 1.1 billion parameters: loading, memory, eviction, failover (minutes, 12 GB of memory)
	$(CLEAN) $(BIN)/python -m pytest -m large -s tests/large $(ARGS)

families: $(STAMP) ## try the architectures of the catalogue, write shared/docs/families.md; ARGS="mpt gemma2" for some again
	$(CLEAN) $(BIN)/python -m tests.families $(ARGS)

chaos: $(STAMP) ## kill at random under load and check every answer; ARGS="--kills 40 --real-kills 10 --seed 1"
	$(CLEAN) $(BIN)/python -m tests.chaos $(ARGS)

conversion-chaos: $(STAMP) ## kill converters, their children and Redis over a queue of conversions; ARGS="--kills 30 --seed 1"
	$(CLEAN) $(BIN)/python -m tests.conversion_chaos $(ARGS)

compose-test: $(STAMP) ## bring deploy/compose.yaml up on a container engine and chat through it (root, Debian)
	$(CLEAN) tests/compose/run $(ARGS)

lock: $(STAMP) ## resolve all lock files again; ARGS=--upgrade moves the pins
	deploy/bin/lock $(ARGS)

sbom: $(STAMP) ## write a bill of materials for each image to build/sbom
	@$(BIN)/python -m deploy.supply.sbom $(ARGS)

audit: $(STAMP) ## ask for known vulnerabilities and yanked releases of what the images install; needs a network
	@$(BIN)/python -m deploy.supply.audit $(ARGS)

clean: ## remove the environment and every cache, not the data
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
