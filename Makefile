# What a person types. Needs Python 3.11 or newer, make, and a package index for the first run; nothing else.
#
#   make run          the demo: no configuration, no certificate, no upstream of yours needed
#   make test         lint, types, and every test that is not marked long
#   make test-native  the pump's own test program in C, under sanitizers and valgrind
#   make test-long    the tests that take longer
#   make fuzz         search for inputs that break an invariant, a minute a target; FUZZ=head SECONDS=1200
#   make soak         every kind of traffic at once for 30 minutes a pump, every byte checked; SOAK="--minutes 5"
#   make test-lowest  the suite with exactly the lower bounds of pyproject.toml
#   make bench        CPU, latency and memory beside nginx, HAProxy and Caddy; BENCH=--quick for two minutes
#   make peers        the Node programs that some tests talk to (needs npm)
#   make format       write the code the way `make test` wants it
#   make clean        remove everything made here
#
# PYTHON=/path/to/python3 says which interpreter; TESTS="-k head" goes to pytest, BENCH="--only small" to the bench.

SHELL := /bin/sh
.SUFFIXES:
.DELETE_ON_ERROR:

PYTHON ?=
TESTS ?=
BENCH ?= --write-docs
FUZZ ?=
SECONDS ?= 60
SOAK ?=
VENV := .venv
PY := $(VENV)/bin/python
LOWEST := .venv-lowest
PYTEST := -m pytest -q -p tests.no_skip

# What belongs to another environment must not leak into ours.
unexport PYTHONPATH
unexport PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test lint types test-native test-long test-lowest bench fuzz soak peers format clean FORCE

run: $(VENV)/.installed
	@exec $(VENV)/bin/twistd -n --pidfile= wsrelay --demo

test: lint types test-native
	@$(PY) $(PYTEST) -m 'not long' $(TESTS)

lint: $(VENV)/.dev
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(VENV)/.dev
	@$(PY) -m mypy --strict

test-native:
	@tests/native/run

test-long: $(VENV)/.dev
	@$(PY) $(PYTEST) -m long -o faulthandler_timeout=1800 $(TESTS)

test-lowest: $(LOWEST)/.installed
	@$(LOWEST)/bin/python $(PYTEST) -m 'not long' $(TESTS)

# Compiles its load and its upstream first (a C compiler, OpenSSL's headers). A whole run writes docs/performance.md.
bench: $(VENV)/.installed
	@$(PY) -m bench $(BENCH)

# Corpora and finds stay in build/fuzz, so that the next search goes on where this one ended.
fuzz: $(VENV)/.fuzz
	@$(PY) -m fuzz $(FUZZ) --seconds $(SECONDS)

soak: $(VENV)/.dev
	@$(PY) -m soak $(SOAK)

peers:
	@cd tests/e2e/node && npm ci --no-audit --no-fund

format: $(VENV)/.dev
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

clean:
	rm -rf wsrelay/pump/*.so $(VENV) $(LOWEST) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	rm -rf tests/e2e/node/node_modules twisted/plugins/dropin.cache bench/build
	find wsrelay tests twisted bench fuzz soak -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so an interrupted setting-up is simply done again.
# The native pump is compiled here, if there is a compiler.
$(VENV)/.installed: pyproject.toml setup.py $(wildcard wsrelay/pump/*.[ch]) wsrelay/pump/build.py $(VENV)/.made
	@echo "installing wsrelay into $(VENV)"
	@$(PY) -m pip install --quiet -e .
	@touch $@

# After .installed and not beside it: two pips at once in one environment spoil it under make -j.
$(VENV)/.dev: $(VENV)/.installed
	@echo "installing the test programs into $(VENV)"
	@$(PY) -m pip install --quiet -e '.[dev]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev
	@echo "installing the fuzzer into $(VENV)"
	@$(PY) -m pip install --quiet -e '.[fuzz]'
	@touch $@

$(VENV)/.made:
	@$(call make_venv,$(VENV))
	@pwd > $@

$(LOWEST)/.installed: pyproject.toml setup.py
	@$(call make_venv,$(LOWEST))
	@sed -n '/^dependencies = /,/^]/s/^ *"\([a-z0-9-]*\)>=\([0-9.]*\)",*$$/\1==\2/p' pyproject.toml > $(LOWEST)/bounds.txt
	@$(LOWEST)/bin/python -m pip install --quiet -c $(LOWEST)/bounds.txt -e '.[dev]'
	@touch $@

# A copied or moved tree carries an environment whose scripts and paths point at the old place, and an upgraded
# system one whose interpreter is gone: make it anew.
ifneq ($(shell $(PY) -c "" 2>/dev/null && cat $(VENV)/.made 2>/dev/null),$(shell pwd))
$(VENV)/.made: FORCE
endif

# $(1) the folder. The first interpreter that is new enough makes the environment.
define make_venv
found=; \
for candidate in "$(PYTHON)" python3 python3.14 python3.13 python3.12 python3.11 python; do \
    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
    then found=$$candidate; break; fi; \
    if [ -n "$$candidate" ] && [ "$$candidate" = "$(PYTHON)" ]; \
    then echo "PYTHON=$(PYTHON) is not Python 3.11 or newer." >&2; exit 1; fi; \
done; \
if [ -z "$$found" ]; then \
    echo "wsrelay needs Python 3.11 or newer. Here: $$(python3 --version 2>&1)." >&2; \
    echo "Install one, or say where it is: make PYTHON=/path/to/python3" >&2; exit 1; \
fi; \
if ! "$$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
    echo "$$found cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
fi; \
echo "making $(1) with $$("$$found" --version)"; \
"$$found" -m venv --clear $(1)
endef
