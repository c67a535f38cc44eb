# The two commands of the README: `make demo` and `make test`. Both install first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DEMO := demo

.PHONY: setup demo test lint docs bench lock release clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "egodepth needs Python 3.11 or newer; run make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(STAMP)

demo: setup
	$(BIN)/egodepth demo $(DEMO)

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The site, in site/; open site/index.html.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: setup
	$(BIN)/python benchmarks/training.py

# Exact versions for every platform and Python, without the place that they were found at. Three extras stay out: LiteRT's
# converter asks for PyTorch 2.9, ExecuTorch brings a dozen packages, and a long test process that used ncnn
# ended twice at the same test, for a reason that was not found. Their tests run where they are installed.
LOCKED := calibrate coreml int8 lenses openvino points ray ros slurm teachers train view web

lock: setup
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
		--no-emit-find-links --group dev $(addprefix --extra ,$(LOCKED)) pyproject.toml --output-file requirements.lock

# Archives in dist/, built from a clean clone of HEAD and tried in an empty environment. Uploads nothing.
release: setup
	$(BIN)/python -m pip install --quiet build twine
	PYTHON=$(BIN)/python tools/release.sh

clean:
	rm -rf $(VENV) $(DEMO) build dist site
