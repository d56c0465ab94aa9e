# Everything on a fresh machine: Python >= 3.11 and make are enough. `make help` lists the targets.
PYTHON  ?= python3
VENV    ?= .venv
DEMO    ?= features
ARGS    ?=
JOBS    ?= auto
BIN     := $(VENV)/bin
BASE    := $(VENV)/.installed
STAMP   := $(VENV)/.installed-dev
LIBRARY := $(shell git ls-files 'stemfeatures/*.py' 'pipelines/*.py' 2>/dev/null)

export NUMBA_CACHE_DIR ?= $(CURDIR)/.numba_cache
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo test lint docs pages clean

help:       ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

demo: $(BASE)  ## set up, extract catalog_samples/ into features/, print what was made
	$(BIN)/stemfeatures extract catalog_samples/catalog.csv --out-dir $(DEMO) || test $$? -eq 3
	@echo
	@echo "The tables are in $(DEMO)/. To go on: source $(BIN)/activate"

test: $(STAMP)  ## set up with all that the tests need, run them (ARGS="-k name" goes to pytest, JOBS=0 runs them in one process)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

lint: $(STAMP)  ## ruff, mypy, the direction of imports, docstrings, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/numpydoc lint $(LIBRARY)
	$(BIN)/codespell

pages: $(STAMP)  ## write again the pages that come from the code
	$(BIN)/python -m stemfeatures.tables.schema > docs/tables.md
	$(BIN)/python -m pipelines.cli_reference > docs/cli.md
	$(BIN)/python docs/draw_architecture.py

docs: $(STAMP)  ## the site in site/, notebooks run on the features of catalog_samples/
	$(BIN)/stemfeatures extract catalog_samples/catalog.csv --out-dir $(DEMO) || test $$? -eq 3
	EXECUTE_NOTEBOOKS=true FEATURES=$(CURDIR)/$(DEMO) NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:      ## remove what the other targets made, except environments
	rm -rf $(DEMO) build dist site *.egg-info

# One environment serves all targets: the package, and what development needs besides. Redone when requirements change.
$(BASE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "stemfeatures needs Python 3.11 or newer (make PYTHON=python3.11 ...)")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing stemfeatures and what it needs into $(VENV): PyTorch is large, this takes minutes ..."
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar on -c constraints.txt -e . | grep -E '^(Collecting|Downloading|Installing|Successfully)' || true
	@$(BIN)/python -c 'import stemfeatures' || (echo "the installation failed; run: $(BIN)/python -m pip install -c constraints.txt -e ." && false)
	@touch $@

$(STAMP): $(BASE)
	@echo "Installing what the tests need into $(VENV) ..."
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@
