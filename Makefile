# Everything that a developer types. `make` alone lists it.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export UV := $(CURDIR)/.tools/uv
# Containers often set it. Every process of Ray would then compile torch's thousands of modules anew: ten seconds each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo assets test test-unit test-integration servers lint crds bench clean

help: ## Lists the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-18s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Installs what is missing: uv, and the environment in .venv
	@sh scripts/bootstrap

demo: setup ## Fine-tunes MiniLM on real film reviews, on two workers
	@python scripts/assets.py minilm reviews
	@kubetune run examples/reviews.yaml

assets: setup ## Fetches every model and dataset of the examples into .assets
	@python scripts/assets.py

test: setup ## Runs all tests; real servers are built beside the unit tests
	@$(MAKE) -j2 test-unit servers
	@$(MAKE) test-integration

test-unit: setup ## Runs the tests that need no server
	@pytest tests/unit

test-integration: setup ## Runs the tests against real servers, built at the first time
	@pytest tests/integration

servers: setup ## Builds the servers of the integration tests: S3, etcd, kube-apiserver
	@python tests/servers/build.py

lint: setup ## Checks style, types and the seams between the packages
	ruff check .
	ruff format --check .
	mypy
	lint-imports

crds: setup ## Writes the CRDs and the page on the API anew from the models
	@python -m kubetune_api.crd
	@python -m kubetune_api.reference

bench: setup assets ## Measures the trainer against its peers; see benchmarks/
	@python benchmarks/run.py

clean: ## Removes what the targets made inside the checkout
	rm -rf .venv .tools .assets .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis kubetune-output kubetune-logs
