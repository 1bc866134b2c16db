# Everything starts from here, on a fresh machine too. Options of a command go into ARGS:
#   make serve ARGS="--help"      make test ARGS="tests/quant -k packing"      make test ARGS="-n 0 tests/quant"

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
KERNELS := $(wildcard serving/engine/native/kernels/*)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet
ARGS ?=
# tests/conftest.py says which worker runs what. More than four would want more memory than most machines have.
WORKERS := --numprocesses=logical --maxprocesses=4 --no-loadscope-reorder

.PHONY: help serve test full-test check image-test k8s-test cluster-test audit
help:
	@echo "make serve   install what serving needs, then run 'dqbart serve'"
	@echo "make test    install everything, then run the tests, on all cores"
	@echo "make full-test   the same with those that take long for what they find: before a release"
	@echo "make check   install everything, then lint, check formatting and types"
	@echo "make image-test   build the images and run what is in them; tests/image/podman.py says what it needs"
	@echo "make k8s-test     check the manifests in k8s/"
	@echo "make cluster-test   serve on two machines of a Ray cluster, made of Linux namespaces, of which one dies"
	@echo "make audit   ask the advisory services about every pinned version; without a network it fails and says so"
	@echo "Options of the command go into ARGS, another Python 3.11 into PYTHON."

serve: $(VENV)/serving.installed
	$(VENV)/bin/dqbart serve $(ARGS)

test: $(VENV)/everything.installed
	$(VENV)/bin/python -m pytest $(WORKERS) -m "not slow" $(ARGS)

full-test: $(VENV)/everything.installed
	$(VENV)/bin/python -m pytest $(WORKERS) $(ARGS)

check: $(VENV)/everything.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy quant compress serving pipelines benchmarks dqbart

# Building takes minutes, and root: a Docker engine is not needed. Without its tools this fails, and does not skip.
image-test: $(VENV)/everything.installed
	IMAGE_TEST=1 $(VENV)/bin/python -m pytest tests/image --timeout=7200 $(ARGS)

k8s-test: $(VENV)/everything.installed
	$(VENV)/bin/python -m pytest tests/k8s $(ARGS)

# In namespaces of its own: the network that the tests make is nobody else's, and nothing outlives them. Needs iproute2, and where
# users may not make namespaces, root.
cluster-test: $(VENV)/everything.installed
	CLUSTER_TEST=1 unshare --map-root-user --net --mount --pid --fork --kill-child --mount-proc \
	  $(VENV)/bin/python -m pytest tests/cluster --timeout=900 $(ARGS)

# Not a part of CI, which may have no way to the advisory services. pip-audit has a place of its own, so that it is not audited.
audit: $(VENV)/audit.installed
	$(VENV)/audit/bin/python docker/audit.py

$(VENV)/audit.installed: | $(VENV)/bin/pip
	$(VENV)/bin/python -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip --disable-pip-version-check install --quiet pip-audit==2.10.1
	@touch $@

# Installed again only when pyproject.toml or a kernel has changed.
$(VENV)/serving.installed: pyproject.toml $(KERNELS) | $(VENV)/bin/pip
	@echo "Installing into $(VENV), which takes a minute or two the first time"
	@command -v g++ >/dev/null || echo "There is no g++: the native kernels are left out, and serving will be several times slower"
	$(PIP) --editable .
	@touch $@

$(VENV)/everything.installed: pyproject.toml $(KERNELS) | $(VENV)/bin/pip
	@echo "Installing into $(VENV), which takes a minute or two the first time"
	$(PIP) --editable ".[compress,batch,bench,tracing,dev]"
	@touch $@ $(VENV)/serving.installed

$(VENV)/bin/pip:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "Python 3.11 is needed, and PYTHON is '$(PYTHON)': install python3.11, or name one with make PYTHON=/path/to/python3.11" >&2; \
	  exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { \
	  rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment: on Debian, install python3.11-venv" >&2; \
	  exit 1; }
