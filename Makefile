# Two commands on a fresh machine: `make run` (install, then the main job) and `make test` (install, then the tests).
PYTHON ?= python3
BIN := .venv/bin
RUN := .venv/.installed-run
DEV := .venv/.installed-dev
SETTINGS := setup.cfg pyproject.toml

.PHONY: run test lint types slow benchmarks clean

run: $(RUN)
	$(BIN)/edgewright run --out build/run

test: lint types
	$(BIN)/pytest -n 2 --dist loadfile

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy reads folders, not setup.cfg's mapping: the package is laid out for it with links.
types: $(DEV)
	rm -rf build/types && mkdir -p build/types/edgewright
	ln -s $(foreach folder,train compress export runtimes devices,$(CURDIR)/$(folder)) build/types/edgewright/
	ln -s $(CURDIR)/edgewright/*.py $(CURDIR)/edgewright/py.typed build/types/edgewright/
	cd build/types && ../../$(BIN)/mypy --config-file ../../setup.cfg --cache-dir ../../.mypy_cache -p edgewright

# What takes too long for every change.
slow: $(DEV)
	$(BIN)/pytest -m slow

benchmarks: $(DEV)
	$(BIN)/python benchmarks/help_time.py

clean:
	rm -rf build .venv

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "edgewright needs Python 3.11 or later; got $$($(PYTHON) --version). Run make PYTHON=python3.11" >&2; exit 3; }
	$(PYTHON) -m venv .venv

$(RUN): $(SETTINGS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[train]'
	touch $@

$(DEV): $(SETTINGS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(RUN)
