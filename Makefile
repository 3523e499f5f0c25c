# make demo   a gallery of what the models that ship can do, in gallery/index.html
# make test   the tests
# make lint   style and the rules of who may import whom
# All of them make .venv first; a second run finds it made.

PYTHON ?=
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
READY := $(VENV)/.suffuse-ready
OUT ?= gallery

.PHONY: demo test lint install clean

demo: install
	"$(BIN)/suffuse" demo -o "$(OUT)"

test: install
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 "$(BIN)/python" -m pytest -q -m "not slow" -n 2 --dist worksteal tests

lint: install
	"$(BIN)/python" -m ruff check src tests benchmarks
	"$(BIN)/python" -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

install:
	@PYTHON="$(PYTHON)" sh .ci/environment "$(VENV)" "$(BIN)" "$(READY)"

clean:
	rm -rf "$(VENV)" gallery build dist .pytest_cache .ruff_cache .import_linter_cache
