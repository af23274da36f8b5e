# Everything sets up what it needs in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo
# What the sparse kernels are compiled from: where it changes, they are built again.
NATIVE := setup.py $(wildcard advisor/runtime/native/src/*)

.PHONY: demo test wheel lint app clean

$(VENV)/.installed: pyproject.toml $(NATIVE)
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --editable '.[timm,test,lint]'
	touch $@

# The main job on an embedded default: half the latency of a convolutional network on cluttered digits.
demo: $(VENV)/.installed
	$(BIN)/python benchmarks/demo.py --out $(OUT)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

# dist/*.whl with the compiled kernels, for every Python from 3.11 on; a failed compilation is an error here.
wheel: $(VENV)/.installed-dev
	ADVISOR_REQUIRE_NATIVE=1 $(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

app: $(VENV)/.installed
	$(BIN)/advisor app

clean:
	rm -rf $(VENV) build dist *.egg-info advisor/runtime/native/*.so advisor/runtime/native/not_built.txt
