# Needs Python >= 3.11 and make, nothing else: each target installs what it uses into .venv, pinned by constraints.txt.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
DATA ?= data/fashion_mnist
CONFIG ?= fashion
RUN ?= runs/fashion
TABLE ?= runs/table
BUNDLE ?= $(RUN)/bundle
IMAGE ?= twofold:0.1.0
TRAINING_IMAGE ?= twofold-training:0.1.0
BUILD_ARGS ?=
FUZZ_EXAMPLES ?= 100
FROZEN ?= answers
PYTEST_ARGS ?=
PYTEST_PROCESSES ?= 2
REPRODUCE_ARGS ?=

BIN := .venv/bin
# One thread each: the networks of the tests are too small for more, and two threads on a busy machine wait for one another.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --config-settings editable_mode=compat --editable
SOURCES := pyproject.toml constraints.txt twofold/__init__.py

.DEFAULT_GOAL := help
.PHONY: help serve test test-slow kill-test fuzz-api browser-test openapi frozen check docs format train export reproduce bench bench-training study \
	image training-image release system-deps clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

serve: .venv/.serve ## serve the embedded model on HOST:PORT (127.0.0.1:8000)
	$(BIN)/twofold serve --host $(HOST) --port $(PORT)

# Each tier writes its own branch coverage; the threshold in pyproject.toml is for both together.
TIER = COVERAGE_FILE=.coverage.$(1) $(PYTEST) -n $(PYTEST_PROCESSES) --dist loadfile --cov --cov-fail-under=0 --cov-report=

test: .venv/.dev ## the quick tests, to be run before every commit; PYTEST_ARGS adds to it
	$(call TIER,quick) -m "not slow and not browser and not e2e" $(PYTEST_ARGS)
	$(BIN)/python -m coverage report --data-file=.coverage.quick --fail-under=0 --format=total

test-slow: .venv/.dev system-deps ## the other tests; with the quick ones before them, the coverage of all is checked
	$(call TIER,slow) -m "slow or browser or e2e" $(PYTEST_ARGS)
	@if [ -f .coverage.quick ]; then \
	  $(BIN)/python -m coverage combine --quiet --keep .coverage.quick .coverage.slow && $(BIN)/python -m coverage report; \
	else echo "coverage is checked where make test has run before"; fi

kill-test: .venv/.dev ## kill -9 a training run at 20 random moments: it must end with the same bits
	KILLS=20 $(PYTEST) tests/safety/test_training_kills.py $(PYTEST_ARGS)

fuzz-api: .venv/.dev ## requests made from the OpenAPI document, FUZZ_EXAMPLES for each operation: every answer must be in it
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PYTEST) tests/safety/test_api_fuzz.py $(PYTEST_ARGS)

browser-test: .venv/.dev system-deps ## the page in a real headless Chromium
	$(PYTEST) -m browser $(PYTEST_ARGS)

openapi: .venv/.serve ## write docs/openapi.json anew
	$(BIN)/python -m twofold.service.http.openapi_document > docs/openapi.json

frozen: .venv/.dev ## digests of what a change of structure must keep: FROZEN=answers of the service, or FROZEN=training
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.frozen $(FROZEN) $(if $(filter training,$(FROZEN)),tests/data/fashion-sample)

check: .venv/.dev ## format, lint, types, import contracts, secrets, Dockerfile, compose file, files for GitHub
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive service model training twofold
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --no-verify \
	  --exclude-files '^model/pretrained/' --exclude-lines '"[a-z_]*(hash|sha256)[a-z_]*": "'
	$(BIN)/hadolint docker/*.Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format --default-filetype yaml CITATION.cff

docs: .venv/.docs ## the documentation as a site in build/docs; a broken link ends the build
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

format: .venv/.dev ## let ruff format and repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train: .venv/.train ## train CONFIG (a preset or a TOML file) on DATA (a folder, .npz or hub id) into RUN; continues a run that was stopped
	$(BIN)/twofold-train train $(CONFIG) --data $(DATA) --out $(RUN)

export: .venv/.train ## make BUNDLE from RUN
	$(BIN)/twofold-train export $(RUN) --data $(DATA) --out $(BUNDLE)

reproduce: .venv/.train ## train and measure baselines and ablations of CONFIG into TABLE; REPRODUCE_ARGS adds to it, as --scale 0.1
	OMP_NUM_THREADS=1 $(BIN)/twofold-train reproduce $(CONFIG) --data $(DATA) --out $(TABLE) --threads 1 $(REPRODUCE_ARGS)

bench: .venv/.dev ## cold start, latency, throughput and memory of the service on this machine
	$(BIN)/python -m tests.bench.service

bench-training: .venv/.dev ## images/s and a profile of a training step, against a plain fp32 loop
	$(BIN)/python -m tests.bench.training

study: .venv/.dev ## what generated pictures are worth to a classifier with 50 real pictures per class of DATA (docs/explanation/study.md)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.study --data $(DATA) --out runs/study

image: DOCKERFILE := docker/service.Dockerfile
image: TAG := $(IMAGE)
image: ## build the service's container image with docker or buildah
training-image: DOCKERFILE := docker/training.Dockerfile
training-image: TAG := $(TRAINING_IMAGE)
training-image: ## build the training's container image; BUILD_ARGS adds options, see docker/training.Dockerfile
image training-image:
	@if command -v docker >/dev/null; then docker build $(BUILD_ARGS) --file $(DOCKERFILE) --tag $(TAG) .; \
	elif command -v buildah >/dev/null; then buildah bud --format docker --layers $(BUILD_ARGS) --file $(DOCKERFILE) --tag $(TAG) .; \
	else echo "make $@ needs docker or buildah" >&2; exit 1; fi

# Old metadata and build folders would be packed again, so each release begins without them; the wheel is built from the sdist.
release: .venv/.dev ## build sdist and wheel into dist/, install the wheel into a fresh environment and ask what it serves for a picture
	rm -rf build dist *.egg-info
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m tests.release dist/*.whl

system-deps: # Chromium for the browser tests: found, or installed where this is Debian and we are root
	@if command -v chromium >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends chromium >/dev/null; \
	else echo "the browser tests need Chromium: install your system's package; make test needs none" >&2; exit 1; fi

clean: ## forget what was installed and cached (runs and data stay)
	rm -rf .venv build dist *.egg-info .coverage .coverage.* .hypothesis .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

# One environment that only grows; a stamp per size, renewed when the pins or the version change.
.venv/.serve: $(SOURCES) | .venv/bin/python
	$(INSTALL) .
	@touch $@

.venv/.train: $(SOURCES) | .venv/bin/python
	$(INSTALL) '.[train]'
	@touch .venv/.serve $@

.venv/.docs: $(SOURCES) | .venv/bin/python
	$(INSTALL) '.[train,docs]'
	@touch .venv/.serve .venv/.train $@

.venv/.dev: $(SOURCES) | .venv/bin/python
	$(INSTALL) '.[train,test,dev]'
	@touch .venv/.serve .venv/.train $@
