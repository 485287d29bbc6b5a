# Two commands do everything: `make run` (the web app) and `make test` (all checks).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
HOST ?= 127.0.0.1
PORT ?= 8000
DATA ?= ../shared/data
OUT ?= reproduced

.PHONY: run test reproduce reference publish lungs bench bench-batch bench-dicom bench-load bench-training docs lock clean

run: $(VENV)/serving ## start the web app with the model that comes with the package
	$(BIN)/covidcxr serve --host $(HOST) --port $(PORT)

test: $(VENV)/everything ## ruff, mypy, import-linter and pytest
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist loadfile --durations 20

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

docs: $(VENV)/everything ## write the figures of README and docs anew from docs/results
	$(BIN)/python scripts/write_figures.py

lock: ## pin every dependency anew
	$(BIN)/python -m piptools compile --quiet --all-extras --strip-extras --no-emit-index-url --no-emit-find-links \
	  --no-emit-options --no-annotate --no-header --output-file constraints.txt pyproject.toml

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/serving: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -c constraints.txt -e '.[web]'
	touch $@

$(VENV)/everything: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -c constraints.txt -e '.[train,web,dicom,batch,docs,dev]'
	touch $@ $(VENV)/serving

clean:
	rm -rf $(VENV) $(OUT)
