# Two commands, each enough on a fresh machine with Python >= 3.11:
#   make book      execute every chapter afresh and render the book to _build/html/
#   make test      check the stored outputs, the library, every chapter and the site
# and for those who change things: make quick, refresh, portable, lint, mutants, wheel, hosted,
# release-check, bench, clean.

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
.PHONY: help install book test quick portable refresh lint mutants wheel hosted release-check bench \
  clean distclean

help:
	@sed -n 's/^#   //p' Makefile
	@echo "make book CHAPTER=02-integrators   execute this one afresh, the others as they are stored"
	@echo "make quick     the tests of the library that take no time"
	@echo "make refresh   execute the chapters in place: the only way the stored outputs change"
	@echo "make portable  the chapters with the kernels of an old processor, one thread"
	@echo "make lint      ruff and mypy"
	@echo "make mutants   break the code in many ways, and see the tests fail for each"
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

install: $(STAMP)

# Each stage says what it is and how long it took.
define stage
	@echo "== $(1)"
	@begin=$$(date +%s); $(2) || exit $$?; echo "== $$(( $$(date +%s) - begin )) s: $(1)"
endef

RENDER = $(BIN)/python book/_scripts/render_book.py
PYTEST = $(BIN)/python -m pytest -q -n auto

book: $(STAMP)
	$(RENDER) --output $(BUILD) --fresh $(CHAPTER)

# A chapter computes on one core, so as many run at a time as there are cores.
NBVAL = $(PYTEST) book --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg \
  --nbval-cell-timeout 120 --dist loadfile

# The unit tests run on all cores: each process begins with a stretch of them, for the sake of the
# modules' fixtures, and who is done takes from the others.
UNIT = $(PYTEST) --ignore=tests/site --dist worksteal tests

# The site that is tested is the one in SRNN_SITE, where that is set; else the stored outputs are
# rendered to a folder of their own. Where there is no browser, the last lines say which tests were
# skipped and why (-rs).
SITE = $(or $(SRNN_SITE),$(BUILD)/stored/html)

test: $(STAMP)
ifeq ($(SRNN_SITE),)
	$(call stage,the book of the stored outputs,$(RENDER) --output $(BUILD)/stored)
endif
	$(call stage,unit tests and doctests,$(UNIT) srnn --cov=srnn)
	$(call stage,every chapter beside its stored outputs,$(NBVAL))
	$(call stage,the site in $(SITE),SRNN_SITE=$(SITE) $(PYTEST) -rs tests/site --dist loadgroup)

# For every change: a minute, without the book, its site, coverage and what is marked as slow.
quick: $(STAMP)
	$(call stage,tests that are not slow,$(UNIT) -m "not slow")

mutants: $(STAMP)
	$(BIN)/python tests/mutants.py

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
