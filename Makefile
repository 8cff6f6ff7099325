# Two commands, each enough on a fresh machine with Python >= 3.11:
#   make book      execute every chapter afresh and render the book to _build/html/
#   make test      check the stored outputs, the library, every chapter and the site
# and for those who change things: make refresh, portable, lint, wheel, hosted, release-check, bench,
# clean.

PYTHON ?= python3
VENV := .venv
BUILD := _build
# The versions to install; an empty file, such as /dev/null, for the newest that the bounds allow.
CONSTRAINTS ?= constraints.txt

ifeq ($(OS),Windows_NT)
  BIN := $(VENV)/Scripts
else
  BIN := $(VENV)/bin
endif

# The environment is installed again when the content of these files is another; the package itself
# is installed as a link to the checkout, so that a change of code needs nothing.
STAMP := $(VENV)/installed-$(shell cat pyproject.toml $(CONSTRAINTS) | cksum | tr ' \t' '--')

.DEFAULT_GOAL := help
.PHONY: help book test portable refresh lint wheel hosted release-check bench clean distclean

help:
	@sed -n 's/^#   //p' Makefile
	@echo "make refresh   execute the chapters in place: the only way the stored outputs change"
	@echo "make portable  the chapters with the kernels of an old processor, one thread"
	@echo "make lint      ruff and mypy"
	@echo "make wheel     build the wheel, check it, install it into a fresh environment"
	@echo "make hosted    the setup cell of each chapter beside the lowest allowed PyTorch and NumPy"
	@echo "make release-check   fail while the address of the repository is not set everywhere"
	@echo "make bench     time everything beside other libraries (PARTS=step,import: some of it)"
	@echo "make clean     remove what was built (make distclean: the environment too)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
	  "srnn needs Python 3.11 or newer; %s is %d.%d. Name another one: make PYTHON=python3.11" \
	  % (sys.executable, v[0], v[1]))'
	@# A half-made environment would be taken for a whole one the next time.
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(STAMP): | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -q -c $(CONSTRAINTS) -e ".[dev]"
	@rm -f $(VENV)/installed-*
	@touch $@

book: $(STAMP)
	$(BIN)/python book/_scripts/render_book.py --output $(BUILD) --fresh

# A chapter computes on one core, so as many run at a time as there are cores.
NBVAL = $(BIN)/python -m pytest -q book --nbval --nbval-current-env \
  --nbval-sanitize-with tests/nbval.cfg --nbval-cell-timeout 120 -n auto --dist loadfile

# The unit tests run on all cores, each module of them in one process, for the sake of its fixtures.
# The stored outputs are rendered to a folder of their own, which the site tests then read. Where
# there is no browser, the last lines say which tests were skipped and why (-rs).
test: $(STAMP)
	$(BIN)/python book/_scripts/render_book.py --output $(BUILD)/stored
	$(BIN)/python -m pytest -q tests srnn --ignore=tests/site --cov=srnn -n auto --dist loadscope
	$(NBVAL)
	SRNN_SITE=$(BUILD)/stored/html $(BIN)/python -m pytest -q -rs tests/site -n auto --dist worksteal

# PyTorch chooses its kernels by the processor, and a sum comes out differently in the last digits:
# what the chapters print and assert has to hold with the plainest ones as well.
portable: $(STAMP)
	ATEN_CPU_CAPABILITY=default OMP_NUM_THREADS=1 $(NBVAL)

refresh: $(STAMP)
	$(BIN)/python book/_scripts/execute_book.py book $(if $(CHAPTER),--only $(CHAPTER))

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

wheel: $(STAMP)
	rm -rf dist $(BUILD)/wheel
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m venv $(BUILD)/wheel
	$(BUILD)/wheel/$(notdir $(BIN))/python -m pip install --disable-pip-version-check -q \
	  -c $(CONSTRAINTS) dist/*.whl
	cd $(BUILD)/wheel && $(notdir $(BIN))/python -c \
	  "import srnn; print('srnn', srnn.__version__, 'from', srnn.__file__)"

# Downloads the lowest allowed PyTorch and NumPy: minutes, and several gigabytes where pip
# finds no PyTorch without CUDA.
hosted: $(STAMP)
	$(BIN)/python .ci/hosted.py --output $(BUILD)/hosted

release-check: $(STAMP)
	$(BIN)/python book/_scripts/set_address.py --check

# The libraries to compare with are in an extra of their own. The results are stored: they are what
# the chapters show.
$(STAMP)-bench: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c $(CONSTRAINTS) -e ".[dev,bench]"
	@touch $@

bench: $(STAMP)-bench
	$(BIN)/python benchmarks/run.py $(if $(PARTS),--only $(PARTS))

clean:
	rm -rf $(BUILD) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f .coverage .coverage.*
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
