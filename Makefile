# `make demo` and `make test` set everything up on the way, on a bare Debian or Ubuntu too.

# Another napari gets a virtual environment of its own: make pytest NAPARI=0.6.6
# It goes without the pins that belong to the tested napari, and with PyQt6 all the same (the
# extra `all` of napari 0.6 means PyQt5).
ifeq ($(NAPARI),)
VENV     := .venv
PACKAGES := -e '.[all]'
UNPINNED := ^\#
else
VENV     := .venv-napari-$(NAPARI)
PACKAGES := -e . 'napari[pyqt6,optional-base]==$(NAPARI)'
UNPINNED := ^(napari|app-model|vispy)==
endif
BIN   := $(VENV)/bin
STAMP := $(VENV)/.stamp

# The first Python that is new enough and can make a virtual environment (Debian splits that off).
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
PYTHON_PACKAGES = $(if $(PYTHON),,$(if $(shell command -v python3.11 2>/dev/null),python3.11-venv,python3 python3-venv))

# On Linux the tests have a screen of their own, so that no window gets in the way.
XVFB = $(if $(shell command -v xvfb-run 2>/dev/null),xvfb-run -a -s "-screen 0 1600x1200x24")
SCREEN := $(DISPLAY)$(WAYLAND_DISPLAY)$(filter Darwin,$(shell uname))

.PHONY: help demo test setup system lint types imports pytest format bench clean

help:
	@echo "make demo     napari with a sample, segmented; the results in demo-output/"
	@echo "make test     everything that has to pass: lint, types, imports, pytest"
	@echo "make pytest   the tests alone; ARGS='-k tiles' goes to pytest"
	@echo "make format   puts the code into shape"
	@echo "make bench    the benchmarks"
	@echo "make clean    removes what was built, and the virtual environments"

demo: setup
	$(if $(SCREEN),,$(XVFB)) $(BIN)/napari-unetpp demo -o demo-output \
		$(if $(SCREEN),,--screenshot demo-output/screenshot.png)

test: lint types imports pytest

setup: $(STAMP)

# Order-only, thus looked at every time (it is quick), but no reason to install again.
$(STAMP): pyproject.toml constraints.txt | system
	$(if $(PYTHON),,$(error Python 3.11 or newer is needed, with venv; name it: make PYTHON=...))
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	grep -Ev '$(UNPINNED)' constraints.txt > $(VENV)/constraints.txt
	$(BIN)/python -m pip install --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --constraint $(VENV)/constraints.txt torch
	$(BIN)/python -m pip install --constraint $(VENV)/constraints.txt --group dev $(PACKAGES)
	touch $@

system:
	@scripts/system-packages $(PYTHON_PACKAGES)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

# Each test computes in one thread, so a process for each core (up to four: each takes two gigabytes).
pytest: setup
	NAPARI_STRICT_QT=1 $(XVFB) $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv .venv-napari-* dist build demo-output *.egg-info
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
