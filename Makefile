# The two commands of a fresh machine are `make run` and `make test`. Everything else is for those who work here.
# Needs: Linux, CPython >= 3.11, make, a package registry. Nothing is installed outside this folder.

PYTHON ?= python3
# What `make run` serves: the trained networks that come along. `make run WEIGHTS=untrained` serves every plain level,
# and the G16 levels (Proxy Norm) that are quick to load, with seeded weights, and lets budgets choose them: real
# latencies, meaningless predictions. VARIANTS names others.
WEIGHTS ?= bundled
UNTRAINED := .store-untrained
ifeq ($(WEIGHTS),untrained)
STORE ?= $(UNTRAINED)
VARIANTS ?= b0 b1 b2 b3 b4 b5 b6 b7 b0-g16 b1-g16 b2-g16 b3-g16
SERVE_FLAGS ?= --route-untrained
endif
STORE ?= .store

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
TORCH := .venv-torch
OPENVINO := .venv-openvino
CLIENTS := .venv-conformance
BROWSER := .venv-browser
REHEARSAL := .rehearsal
SUITES := triton kserve perf schema
PEER := .venv-peer
PEERS := fastapi litserve bentoml ray mlserver kserve pytriton
SOURCES := service model_store tests proto docs benchmarks deploy
EMPTY :=
BUILT := $(STORE)/.built-$(subst $(EMPTY) $(EMPTY),_,$(strip $(notdir $(WEIGHTS)) $(VARIANTS)))

.DEFAULT_GOAL := help

.PHONY: help
help: ## what can be made
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: run
run: $(VENV)/run.stamp $(BUILT) ## environment, model store, server on HTTP 8000 and gRPC 9000
	@exec $(BIN)/effserve serve --store $(STORE) $(SERVE_FLAGS)

# One build for each list of variants and state of the builder; what is in the store already is kept.
$(BUILT): $(wildcard model_store/*.py model_store/builder/* model_store/bundled/*.safetensors) | $(VENV)/run.stamp
	@$(BIN)/effserve build $(VARIANTS) --weights $(WEIGHTS) --store $(STORE)
	@touch $@

.PHONY: test
test: lint types imports check unit ## lint, types, import contracts, drift checks, tests

.PHONY: lint
lint: $(VENV)/dev.stamp ## ruff: format and rules
	$(BIN)/ruff format --check --quiet $(SOURCES)
	$(BIN)/ruff check --quiet $(SOURCES)

.PHONY: types
types: $(VENV)/dev.stamp ## mypy --strict
	$(BIN)/mypy

.PHONY: imports
imports: $(VENV)/dev.stamp ## who may import whom; dependencies that are missing or unused
	$(BIN)/lint-imports
	$(BIN)/deptry .

.PHONY: check
check: $(VENV)/dev.stamp ## committed stubs, generated pages and dashboards match their sources
	$(BIN)/python proto/generate.py --check
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m deploy.dashboards --check

.PHONY: unit
unit: $(VENV)/dev.stamp ## the tests, a process for each core, and branch coverage of the core
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --cov --cov-report term-missing:skip-covered

.PHONY: wire
wire: $(VENV)/dev.stamp ## regenerate the gRPC stubs
	$(BIN)/python proto/generate.py

.PHONY: docs
docs: $(VENV)/dev.stamp ## regenerate the pages and dashboards that are made from the code
	$(BIN)/python docs/generate.py
	$(BIN)/python -m deploy.dashboards

.PHONY: conformance
conformance: $(VENV)/dev.stamp $(SUITES:%=$(CLIENTS)-%/stamp) ## other projects' clients, unmodified, against this server (installs them)
	$(BIN)/python -m tests.conformance
	$(BIN)/python -m pytest tests/docs/test_clients_page.py

$(CLIENTS)-%/stamp: requirements/conformance-%.txt
	@$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --disable-pip-version-check --quiet $(if $(filter perf,$*),--no-deps) -r $<
	$(if $(filter perf,$*),@sh tests/conformance/libb64.sh $(@D))
	@touch $@

.PHONY: browser
browser: $(VENV)/dev.stamp $(BROWSER)/stamp ## the page at / in a real Chromium (installs a driver, and the browser as root)
	@sh tests/browser/chromium.sh
	$(BROWSER)/bin/python -m pytest -rs tests/browser

.PHONY: page-picture
page-picture: $(VENV)/dev.stamp $(BROWSER)/stamp ## docs/page.png anew: the page, with one of our own samples
	@sh tests/browser/chromium.sh
	$(BROWSER)/bin/python -m tests.browser.picture docs/page.png

$(BROWSER)/stamp: requirements/browser.txt
	@$(PYTHON) -m venv $(BROWSER)
	$(BROWSER)/bin/pip install --disable-pip-version-check --quiet -r requirements/browser.txt
	@touch $@

.PHONY: rehearsal
rehearsal: $(VENV)/dev.stamp $(REHEARSAL)/stamp ## deploy/ as far as one machine can: Prometheus, dashboards, image, manifests
	$(BIN)/python -m pytest -rs tests/rehearsal

$(REHEARSAL)/stamp: tests/rehearsal/bring.sh requirements/rehearsal.txt
	@PYTHON=$(PYTHON) sh tests/rehearsal/bring.sh $(REHEARSAL)
	@touch $@

.PHONY: torch
torch: $(TORCH)/stamp ## tests of training and of timm's export (needs torch, 1.3 GB)
	$(TORCH)/bin/python -m pytest tests/torch

.PHONY: parity
parity: $(TORCH)/stamp ## the same weights in timm and here give the same logits (needs torch)
	$(TORCH)/bin/python -m model_store.builder.parity

.PHONY: g16
g16: $(TORCH)/stamp ## G16 beside EfficientNet: make g16 DATA=train.zip VAL=val.zip (needs torch; hours)
	$(TORCH)/bin/python -m benchmarks.g16 --data $(DATA) --val $(VAL)

# Two calls: --require-hashes holds for a whole call, and torch's local builds have no published hash.
.PHONY: torch-install
torch-install: $(TORCH)/stamp ## an environment with torch, for `.venv-torch/bin/effserve train`
$(TORCH)/stamp: requirements/run.txt requirements/torch.txt pyproject.toml
	@$(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/pip install --disable-pip-version-check --quiet --require-hashes -r requirements/run.txt
	$(TORCH)/bin/pip install --disable-pip-version-check --quiet -r requirements/torch.txt
	@$(TORCH)/bin/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: openvino
openvino: $(OPENVINO)/stamp $(VENV)/dev.stamp ## OpenVINO as execution provider: tests and figures (installs its build of ONNX Runtime)
	$(OPENVINO)/bin/python -m pytest -rs tests/providers
	$(BIN)/effserve build b0 b1 b2 b3 b4 --store $(UNTRAINED)
	$(BIN)/python -m benchmarks.providers --store $(UNTRAINED) --python $(OPENVINO)/bin/python --rounds 20

# The plain build goes first: two packages that write the same module would leave a mixture of both.
$(OPENVINO)/stamp: requirements/run.txt requirements/openvino.txt pyproject.toml
	@$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --disable-pip-version-check --quiet --require-hashes -r requirements/run.txt
	$(@D)/bin/pip uninstall --quiet --yes onnxruntime
	$(@D)/bin/pip install --disable-pip-version-check --quiet -r requirements/openvino.txt
	@$(@D)/bin/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: bench
bench: figures peers ## everything about speed, on this machine (25 minutes; leave it alone): the next two

.PHONY: figures
figures: $(VENV)/dev.stamp ## the service's own figures (10 minutes)
	$(BIN)/effserve build --store $(UNTRAINED)
	$(BIN)/python -m benchmarks.figures --store $(UNTRAINED)

# Each round visits every contender for ten seconds, three of which only bring back what the kernel took from it while it
# stood still: with all peers there that is three minutes, four times, and as long to start them once.
.PHONY: peers
peers: $(VENV)/dev.stamp $(PEERS:%=$(PEER)-%/tried) ## beside other model servers (15 minutes, and installs them), and its page
	$(BIN)/effserve build b0 --store $(UNTRAINED)
	$(BIN)/python -m benchmarks.peers --store $(UNTRAINED) --out benchmarks/results/peers.json
	$(BIN)/python docs/generate.py

# A server that cannot be had here is no failure: the reason stands in its folder, and in the results.
$(PEER)-%/tried: requirements/peers-%.txt
	@echo "installing $* ..."
	@$(PYTHON) -m venv $(@D)
	@rm -f $(@D)/stamp
	@if $(@D)/bin/pip install --disable-pip-version-check --quiet -r $< 2>$(@D)/reason; then touch $(@D)/stamp; \
	else echo "skipped: $*: $$(tail -n 1 $(@D)/reason)"; fi
	@touch $@

.PHONY: soak
soak: $(VENV)/dev.stamp ## whether memory stays flat, and what variants take of it (15 minutes), and its page
	$(BIN)/effserve build b0 b1 b2 b3 b4 b5 b6 b7 --store $(UNTRAINED)
	$(BIN)/python -m benchmarks.footprint --store $(UNTRAINED) --out benchmarks/results/footprint.json
	$(BIN)/python -m benchmarks.soak --store $(UNTRAINED) --out benchmarks/results/soak.json
	$(BIN)/python docs/generate.py

.PHONY: realtime
realtime: $(VENV)/dev.stamp ## the simulator against the real server, on this machine (10 minutes; leave it alone)
	$(BIN)/effserve build b0 b1 b2 b3 b4 --store $(UNTRAINED)
	$(BIN)/python -m benchmarks.realtime --store $(UNTRAINED)

.PHONY: layouts
layouts: $(VENV)/dev.stamp ## lanes against threads, on this machine (15 minutes; leave it alone), and its page
	$(BIN)/effserve build b0 b1 b2 b3 b4 --store $(UNTRAINED)
	$(BIN)/python -m benchmarks.layouts --store $(UNTRAINED) --out benchmarks/results/layouts.json
	$(BIN)/python docs/generate.py

.PHONY: scheduling
scheduling: $(VENV)/dev.stamp ## what decides, against what was published: simulated, about 20 minutes
	$(BIN)/python -m benchmarks.scheduling

.PHONY: lock
lock: ## write requirements/*.txt anew from pyproject.toml
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --disable-pip-version-check --quiet uv
	.venv-lock/bin/uv pip compile $(LOCK) -o requirements/serve.txt pyproject.toml
	.venv-lock/bin/uv pip compile $(LOCK) --extra build --extra tracing --group install -o requirements/run.txt pyproject.toml
	.venv-lock/bin/uv pip compile $(LOCK) --extra build --extra tracing --group dev -o requirements/dev.txt pyproject.toml
# Extras stay: with --require-hashes pip takes `coverage` for another requirement than `coverage[toml]`.
LOCK := --quiet --universal --no-strip-extras --generate-hashes --python-version 3.11 --no-annotate --no-header

.PHONY: clean
clean: ## remove everything that was made
	rm -rf $(VENV) $(TORCH) $(OPENVINO) $(CLIENTS)-* $(PEER)-* $(BROWSER) $(REHEARSAL) .venv-lock .store $(UNTRAINED) .*_cache .coverage .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "effserve needs CPython >= 3.11, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "installing the locked dependencies (about a minute, once) ..."
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "installing the locked dependencies (about a minute, once) ..."
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/run.stamp
