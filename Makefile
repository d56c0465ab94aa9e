# Everything on a fresh machine: Python >= 3.11 and make are enough.
#   make demo    set up, extract catalog_samples/ into demo/features, print what was made
#   make test    set up, with what development needs besides, run the tests (ARGS="-k name" goes to pytest)
#   make lint    ruff and mypy
#   make docs    the pages in site/
PYTHON  ?= python3
VENV    ?= .venv
EXTRAS  ?= dev
DEMO    ?= demo/features
ARGS    ?=
BIN     := $(VENV)/bin
comma   := ,
BASE    := $(VENV)/.installed
STAMP   := $(BASE)-$(subst $(comma),-,$(EXTRAS))

export NUMBA_CACHE_DIR ?= $(CURDIR)/.numba_cache

.PHONY: demo test lint docs clean

demo: $(BASE)
	$(BIN)/stemfeatures extract catalog_samples/catalog.csv --out-dir $(DEMO) || test $$? -eq 3

test: $(STAMP)
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet "mkdocs>=1.6"
	$(BIN)/python -m mkdocs build --strict

clean:
	rm -rf demo build dist site *.egg-info

# One environment serves all targets: the package, and its EXTRAS where they are needed. Redone when requirements change.
$(BASE): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "stemfeatures needs Python 3.11 or newer (make PYTHON=python3.11 ...)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(STAMP): $(BASE)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@
