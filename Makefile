# `make demo` and `make test` are all that a fresh clone needs: both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Compiled modules are kept: without them each of many short processes would compile its imports again.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test environment lint lock faults schemas rulegraph clean-results help

help:
	@echo "make demo         environment, then the demo study's report (minutes, no GPU)"
	@echo "make test         environment, then all tests"
	@echo "make environment  only .venv, from requirements.lock"
	@echo "make lint         ruff, snakefmt, snakemake --lint"
	@echo "make lock         compile requirements.lock from pyproject.toml"
	@echo "make faults       inject N=500 faults into real runs (half an hour on two cores): docs/reliability.md"
	@echo "make rulegraph    draw docs/rulegraph.svg"

environment: $(VENV)/.installed

# With uv where it is present; otherwise uv is put into the environment first.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed, $(PYTHON) is older; try make PYTHON=python3.12" >&2; exit 1; }
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV) && UV=uv; \
	else \
		$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip --quiet install uv && UV=$(BIN)/uv; \
	fi && \
	echo "Installing the environment from requirements.lock ..." && \
	$$UV pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock && \
	$$UV pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . && \
	touch $@

demo: environment
	snakemake --cores all demo
	@echo "The report: results/reports/demo/index.html   The runs: nrd ui"

test: environment
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

lint: environment
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint

lock:
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header -o requirements.lock

N ?= 500
SEED ?= 1
faults: environment
	python -m tests.faults --number $(N) --seed $(SEED)

schemas: environment
	nrd schemas

rulegraph: environment
	snakemake --rulegraph dot demo 2>/dev/null | dot -Tsvg > docs/rulegraph.svg
