# Each target sets up .venv by itself the first time; it needs Python 3.11 or newer, a C++ compiler and make.
#   make chat ARGS="--help"       arguments for the program behind a target
#   LLMOS_BUILD=cuda make chat    the llama.cpp build: cpu, cuda or metal (found out by default)
#   PYTHON=/path/to/python make   the Python that .venv is made with

.DEFAULT_GOAL := help
.PHONY: help chat test check format bench clean setup setup-dev

RECENT := import sys; sys.exit(sys.version_info < (3, 11))
FOUND := $(shell for name in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python); do \
	"$$name" -c '$(RECENT)' >/dev/null 2>&1 && echo "$$name" && break; done)
RUN := .venv/bin/python -m
WORKERS ?= 2

help:             ## show this list
	@sed -n 's/^\([a-z]*\): .*## /make \1	/p' Makefile

chat: setup       ## talk to a local model
	@$(RUN) llmos $(ARGS)

test: setup-dev   ## run the tests
	@$(RUN) pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: setup-dev  ## ruff, mypy and pyright
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) mypy
	@$(RUN) pyright

format: setup-dev ## bring the code into its form
	@$(RUN) ruff check --fix
	@$(RUN) ruff format

bench: setup-dev  ## measure the engine: make bench ARGS="engine --json FILE"
	@$(RUN) bench $(or $(ARGS),engine)

clean:            ## remove .venv and everything else that can be made again
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

setup setup-dev:
	@test -n "$(FOUND)" || { echo "llmos needs Python 3.11 or newer, and found none: install it" \
		"(https://www.python.org/downloads/) or name it (PYTHON=/path/to/python make ...)." >&2; exit 1; }
	@"$(FOUND)" scripts/setup.py $(if $(filter setup-dev,$@),--dev)
