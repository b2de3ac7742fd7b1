# lab · test · bench · instructions · docs · lint · wheel · sanitize · arm64 · compilers · reliability: each
# works on a fresh clone with Python >= 3.11 and a C compiler, in a virtual environment of its own.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := setup.py pyproject.toml $(wildcard csrc/*) $(wildcard fastreg/_core/*.p*)

.PHONY: lab test bench instructions docs lint wheel sanitize arm64 compilers reliability clean

lab: $(VENV)/lab
	$(BIN)/fastreg lab $(ARGS)

test: $(VENV)/test
	$(BIN)/python -m pytest $(ARGS)

bench: $(VENV)/bench
	$(BIN)/fastreg bench $(ARGS)

# The pages, in build/docs/html, with the lab's figures of a short run; then their links, names and
# samples are tested.
docs: $(VENV)/docs
	$(BIN)/python -m sphinx -EW --keep-going -q $(ARGS) docs build/docs/html
	$(BIN)/python -m pytest tests/docs

# Instructions per call, which do not depend on the weather (valgrind): ARGS="--base main" compares.
instructions: $(VENV)/bench
	$(BIN)/python benches/instructions.py $(ARGS)

# Where torch is missing pyright takes fastreg/torch for it: all else is checked then.
TYPED = $$($(BIN)/python -c "import torch" 2> /dev/null || \
    find fastreg -name "*.py" -not -path "fastreg/torch/*")

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror csrc/*.c csrc/*.h
	$(BIN)/python -m mypy
	$(BIN)/python -m pyright --pythonpath $(BIN)/python $(TYPED)
	$(BIN)/python -m mypy.stubtest fastreg._core._kernels --ignore-disjoint-bases \
	    --mypy-config-file pyproject.toml

# The wheel as users get it: built twice to the same bytes, looked into, tested in empty environments.
wheel: $(VENV)/wheel
	.ci/wheel $(abspath $(BIN)) $(PYTHON) $(ARGS)

# Address and undefined-behaviour sanitizers over the kernels' tests.
sanitize: $(VENV)/test
	rm -rf build/sanitize && mkdir -p build/sanitize
	FASTREG_SANITIZE=address,undefined $(BIN)/pip install --quiet --no-deps --target build/sanitize .
	cp -R tests build/sanitize/tests
	cd build/sanitize && ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
	    LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	    PYTHONPATH=. $(abspath $(BIN))/python -m pytest -c /dev/null --rootdir=. \
	    tests/optim/test_rules.py tests/optim/test_bad_updates.py tests/norm tests/dropout \
	    tests/penalty tests/nn/test_block.py tests/nn/test_losses.py \
	    tests/sweeps/test_attributes.py tests/test_bad_input.py $(ARGS)

# The kernels' tests and the golden runs on an emulated arm64 (Debian or Ubuntu).
arm64: $(VENV)/test
	.ci/arm64 $(BIN) $(ARGS)

# Every row of docs/reliability.md in full, and all of its planted faults: hours. ARGS="N-07 M-03" runs
# rows, ARGS="--share 0.01" so much of each. A row that is red keeps no fault from being planted.
reliability: $(VENV)/test
	$(BIN)/python tests/reliability $(ARGS); held=$$?; \
	$(BIN)/python tests/reliability --twins $(ARGS) && exit $$held

# The kernels without Python under gcc, clang, musl, mingw-w64 and an emulated arm64: the same bits.
# Then the whole extension under clang, musl and mingw-w64.
compilers: $(VENV)/test
	.ci/compilers $(BIN)

# One stamp per extra: made again when a source of the extension changes.
$(VENV)/%: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable ".[$*]"
	touch $@

# Tools alone: what `make wheel` builds and tests has environments of its own.
$(VENV)/wheel: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "pip>=25.1"
	$(BIN)/pip install --quiet --group wheel
	touch $@

clean:
	rm -rf $(VENV) build dist wheelhouse report *.egg-info fastreg/_core/_kernels.c fastreg/_core/*.so
