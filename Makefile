# `make` lists the targets. Two commands do everything: `make run` (the web app) and `make test` (all checks).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS ?= constraints.txt
PYTEST := pytest -n auto --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
HOST ?= 127.0.0.1
PORT ?= 8000
DATA ?= ../shared/data
OUT ?= reproduced

.PHONY: help run check fix fast test coverage lowest site docs lock upgrade clean \
  reproduce reference publish lungs bench bench-batch bench-dicom bench-load bench-training

help: ## this list
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: $(VENV)/serving ## start the web app with the model that comes with the package
	$(BIN)/covidcxr serve --host $(HOST) --port $(PORT)

check: $(VENV)/everything ## style, types, import rules and spelling; no tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/mypy --num-workers auto

fix: $(VENV)/everything ## repair what ruff and codespell can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/codespell --write-changes

fast: $(VENV)/everything ## the tests to run while you work: less than a minute
	$(BIN)/$(PYTEST) -m "not slow and not real_data"

test: check ## everything: check, then all tests
	$(BIN)/$(PYTEST) --durations 20

coverage: $(VENV)/everything ## lines and branches that no test runs
	$(BIN)/coverage erase
	$(BIN)/coverage run -m $(PYTEST)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lowest: $(VENV)/everything ## the fast tests with the oldest dependencies that pyproject.toml allows
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --python-version 3.11 $(COMPILE) --output-file lowest.txt
	$(MAKE) fast VENV=.venv-lowest CONSTRAINTS=lowest.txt

site: $(VENV)/everything ## the documentation as a website in docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

reproduce: $(VENV)/everything ## the shipped model and its figures from the raw collections in DATA
	$(BIN)/python scripts/reproduce.py --data $(DATA) --out $(OUT)

reference: $(VENV)/everything ## what `covidcxr batch` compares with: the training images of the shipped model, by the manifest in OUT
	$(BIN)/covidcxr batch reference $(OUT)/manifest.csv --out src/covidcxr/assets/reference.json
	$(BIN)/python scripts/measure_drift.py $(OUT)/manifest.csv

publish: $(VENV)/everything ## ship the model and the figures that `make reproduce` left in OUT
	cp $(OUT)/default.onnx src/covidcxr/assets/covidcxr.onnx
	$(MAKE) reference OUT=$(OUT)
	for protocol in classic controls unseen-hospitals external held-out; do \
	  cp $(OUT)/reports/$$protocol/report.json src/covidcxr/assets/results/$$protocol.json; done
	for recipe in classic default; do cp $(OUT)/audit-$$recipe/audit.json docs/results/audit-$$recipe.json; done
	cp $(OUT)/gate/gate.json docs/results/gate.json
	$(BIN)/python scripts/write_figures.py
	$(BIN)/covidcxr card src/covidcxr/assets/covidcxr.onnx --reports src/covidcxr/assets/results --out docs/model-card.md
	$(BIN)/python scripts/screenshot_page.py

lungs: $(VENV)/everything ## train and ship the networks that find the lungs, with their figures
	$(BIN)/covidcxr lungs train --root $(DATA) --out $(OUT)/lungs
	cp $(OUT)/lungs/lungs.onnx src/covidcxr/assets/lungs.onnx
	cp $(OUT)/lungs/cells/lung_cells.weights.h5 src/covidcxr/training/networks/lung_cells.weights.h5
	cp $(OUT)/lungs/report.json docs/results/lungs.json

bench-batch: $(VENV)/everything ## cost and memory of very many images
	$(BIN)/python benchmarks/batch.py

bench-dicom: $(VENV)/everything ## the DICOM node killed, fuzzed, and beside Orthanc
	$(BIN)/python benchmarks/dicom_node.py

bench-load: $(VENV)/everything ## the server under load
	$(BIN)/python benchmarks/load.py

bench: $(VENV)/everything ## speed and size against the classic deployment
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/speed.py

bench-training: $(VENV)/everything ## the training pipeline against the network alone
	$(BIN)/python benchmarks/training.py

docs: $(VENV)/everything ## write the figures of README and docs from docs/results
	$(BIN)/python scripts/write_figures.py

COMPILE := pyproject.toml --all-extras --group dev --group docs --no-header --no-annotate --no-emit-index-url

lock: $(VENV)/everything ## pin dependencies that have no pin yet
	$(BIN)/uv pip compile --quiet --universal $(COMPILE) --output-file constraints.txt

upgrade: $(VENV)/everything ## pin the newest version of every dependency
	$(BIN)/uv pip compile --quiet --universal --upgrade $(COMPILE) --output-file constraints.txt

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/serving: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	$(PIP) -c $(CONSTRAINTS) -e '.[web]'
	touch $@

$(VENV)/everything: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	$(PIP) 'pip>=25.1'  # the first that knows dependency groups
	$(PIP) --no-compile -c $(CONSTRAINTS) --group dev --group docs -e '.[train,web,dicom,batch]'
	touch $@ $(VENV)/serving

clean:
	rm -rf $(VENV) .venv-lowest lowest.txt docs/_build $(OUT)
