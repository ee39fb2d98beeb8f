# Everything that a developer types. `make` alone lists it.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Containers often set it. Every process of Ray would then compile torch's thousands of modules anew: ten seconds each.
unexport PYTHONDONTWRITEBYTECODE
# Tests share the cores: threads that spin until the last of them is done take them from each other.
export OMP_WAIT_POLICY ?= PASSIVE

RAY_TESTS := $(addprefix tests/integration/,test_run_command.py test_resume_command.py training/test_run.py trainer_in_cluster)
API_TESTS := $(addprefix tests/integration/,test_crds.py cli operator_io chart/test_against_api_server.py)
STEP_TESTS := $(addprefix tests/integration/,planner storage) \
	$(filter-out %/test_run.py %/test_matrix.py,$(wildcard tests/integration/training/test_*.py))

.PHONY: help setup demo assets test test-unit test-integration test-runs test-runs-then-others test-steps test-api test-matrix test-cluster servers servers-go \
	servers-npm cluster-control-plane cluster-build cluster cluster-down test-e2e test-e2e-all test-kill lint crds lock scan sbom matrix bench \
	bench-memory bench-large bench-control-plane gpu-check image clean

help: ## Lists the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
	@pytest --numprocesses logical --maxprocesses 8 tests/unit

test-integration: setup ## Runs the tests against real servers, built at the first time
	@echo "what starts Ray and what does not run beside each other; each part shows its output at its end, in minutes"
	@$(MAKE) -j2 --output-sync=target test-runs-then-others test-steps
	@$(MAKE) test-cluster

test-runs-then-others:
	@$(MAKE) test-runs
	@$(MAKE) test-api
	@$(MAKE) test-matrix

# One Ray at a time: it gives up on a node that takes 30 seconds to start. What runs beside it gives way.
test-runs: setup ## Those of them that start Ray: whole runs
	@pytest $(RAY_TESTS)

test-steps: setup ## Those of them that train without Ray, or ask object storage
	@nice -n 10 pytest $(STEP_TESTS)

test-api: setup ## Those of them that ask an API server, and no other part of Kubernetes
	@nice -n 5 pytest $(API_TESTS)

test-matrix: setup ## Those of them that train every task with every family
	@nice -n 5 pytest tests/integration/training/test_matrix.py

# Each process has a control plane of its own.
test-cluster: setup ## Those of them that ask a whole control plane
	@pytest --numprocesses 2 --dist loadfile tests/integration \
		$(addprefix --ignore=,$(RAY_TESTS) $(STEP_TESTS) $(API_TESTS) \
		tests/integration/training/test_matrix.py)

servers: servers-go servers-npm ## Builds the servers and tools of the integration tests: object storage, Kubernetes, KubeRay, helm, promtool

servers-go: setup
	@python tests/servers/build.py

servers-npm: setup
	@PYTHONPATH=tests python -m servers.node

cluster-control-plane: setup ## Keeps a control plane with KubeRay and our CRDs, and a simulated node, until Ctrl-C
	@PYTHONPATH=tests python tests/servers/control_plane.py

cluster-build: setup ## Builds ahead of time what that cluster needs besides the servers: images, programs of a node
	@PYTHONPATH=tests python -m cluster build

cluster: setup ## Keeps a real cluster on this machine (root, Debian 12), with kubetune installed; again: installs anew
	@PYTHONPATH=tests python -m cluster up

cluster-down: setup ## Ends that cluster; only its images stay, in the cache
	@PYTHONPATH=tests python -m cluster down

# Two jobs at a time: while one starts its pods or waits for an end, the other has the cores. The five of the second line
# all start at once: beside others they kept KubeRay from its Lease.
test-e2e: cluster ## Runs those tests on that cluster that fit into CI: a whole job, jobs that fail, a killed worker
	@pytest --numprocesses 2 --dist loadfile tests/e2e/test_reviews.py \
		"tests/e2e/test_interruptions.py::test_the_attempt_that_follows_a_killed_pod_goes_on_from_the_last_checkpoint[worker-reasons0]"
	@pytest tests/e2e/test_failures.py

test-e2e-all: cluster ## Runs all of them: three quarters of an hour, and twenty minutes more until Kueue is built
	@pytest tests/e2e

test-kill: setup ## Kills runs at some 75 random moments, and compares what they come to: a quarter of an hour
	@pytest tests/kill

lint: setup ## Checks style, types and the seams between the packages
	ruff check .
	ruff format --check .
	mypy
	lint-imports

crds: setup ## Writes the CRDs, the chart's copies of them and the page on the API anew from the models
	@python -m kubetune_api.crd
	@python scripts/chart.py
	@python -m kubetune_api.reference

lock: setup ## Locks the dependencies of pyproject.toml, with their hashes, and writes those of uv into scripts/uv.txt
	@.tools/uv lock
	@.tools/uv export --quiet --frozen --only-group uv --no-emit-project --no-header --no-annotate --output-file scripts/uv.txt

scan: setup ## Asks a service of OSV (SCAN_URL; default: api.osv.dev) for known vulnerabilities of all that is locked
	.tools/uv audit --frozen --preview-features audit-command $(if $(SCAN_URL),--service-url $(SCAN_URL))

sbom: setup ## Writes what is in the images that were built here into dist/, as CycloneDX (root)
	@python scripts/sbom.py

matrix: setup ## Trains every task with every family, method and ZeRO stage, and writes what ran into docs/models.md
	@PYTHONPATH=tests python -m support.matrix_page

bench: setup assets ## Measures the trainer against its peers; see benchmarks/
	@python benchmarks/run.py

image: setup ## Builds the operator's image with buildah (root); see docs/install.md
	@python scripts/images.py operator

bench-memory: setup ## Measures the memory of real trainings against the planner; see docs/planning.md
	@python benchmarks/memory.py

bench-large: setup ## Loads a model of 250M parameters into the shards of two workers; see benchmarks/
	@python benchmarks/large.py

gpu-check: setup ## Runs what only a GPU can show, in ten minutes; without one, a reduced form: see docs/gpu.md
	@python scripts/gpu_check.py

bench-control-plane: setup servers ## Measures the operator against a bare client and hostile tenants; see benchmarks/
	@python benchmarks/control_plane.py
	@python benchmarks/hostile_tenants.py

clean: ## Removes what the targets made inside the checkout
	rm -rf .venv .tools .assets .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis kubetune-output kubetune-logs
