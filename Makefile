# The front door. Every target sets up what it needs: a virtual environment in .venv with the
# locked dependencies; nothing outside this folder is touched.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# OpenLineage's provider, beside what all other targets have.
PROVIDER := .lake/openlineage
SEED ?= 7
SCALE ?= 1
PORT ?= 8080
# Tests that use a store, and those of what stores do differently.
S3_TESTS := tests/integration tests/unit/bucket/test_objects.py tests/pipeline/test_disaster.py tests/chaos/test_store_restarts.py
S3_QUICK := $(patsubst %,tests/integration/test_%.py,real_store exactly_once nothing_is_late overwrite_streams quarantine reconcile replaced_object)

export PYTHONPATH := plugins:.
# With it every process compiles what it imports, which for Airflow takes as long as the imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo demo-ui drop status demo-stop demo-clean test test-s3 test-s3-quick openlineage chaos connectors distributed distributed-quick picture walkthrough simulate mutants bench bench-quick check validate dictionary e2e format lock landing airbyte-catalog docs image up down

help: ## Show this help
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements-dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v < (3, 14) or sys.exit("Lotus Lake needs Python 3.11 to 3.13, %s is %d.%d; hint: make PYTHON=python3.11 ..." % (sys.executable, *v))'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r <(grep -A99 '^uv==' requirements-dev.txt | awk 'NR > 1 && /^[a-zA-Z]/ {exit} {print}')
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

##@ The demo

setup: $(READY) ## Create .venv with the locked dependencies

demo: $(READY) ## Land sample files with every Dag, and show the tables
	@$(BIN)/python -m samples.demo run --seed $(SEED) --scale $(SCALE)

demo-ui: $(READY) ## Run Airflow with its web UI on the demo's lake (PORT=8080)
	@$(BIN)/python -m samples.demo ui --port $(PORT)

drop: $(READY) ## Let more files arrive, and watch them reach fct_sales (BAD=1: one that is cut off; MEND=1: it, whole)
	@$(BIN)/python -m samples.demo drop $(if $(BAD),--bad) $(if $(MEND),--mend)

status: $(READY) ## Show where every stream and table stands
	@$(BIN)/lotus-lake status

demo-stop: $(READY) ## Stop the demo's S3 server; everything stays on disk
	@$(BIN)/python -m samples.demo stop

demo-clean: $(READY) ## Delete the demo: bucket, lake and Airflow's database
	@$(BIN)/python -m samples.demo clean

##@ A project of your own

validate: $(READY) ## Check stream configs, landing DDL, dbt sources and models against each other
	@$(BIN)/python -m lotus_lake.cli validate

dictionary: $(READY) ## Write the data dictionary, one HTML file: .lake/dictionary.html
	@mkdir -p .lake
	@$(BIN)/python -m lotus_lake.cli dictionary > .lake/dictionary.html
	@echo .lake/dictionary.html

landing: $(READY) ## Derive the landing DDL and the JSON Schema from the stream configs
	@$(BIN)/python -m lotus_lake.cli landing

airbyte-catalog: $(READY) ## Derive the configured catalogs for Airbyte from the stream configs, for Terraform
	@$(BIN)/python -m lotus_lake.cli airbyte-catalog

##@ Production in containers

COMPOSE = docker compose --env-file deploy/compose/.env
up: deploy/compose/.env ## Run all of it: Celery workers, Postgres, Redis, S3
	@$(COMPOSE) up --detach --build --wait
	@sed -n 's,^PORT=,http://127.0.0.1:,p; s,^ADMIN_,user admin: ,p' deploy/compose/.env

deploy/compose/.env:
	@$(PYTHON) deploy/make_secrets.py deploy/compose/example.env $@

down: deploy/compose/.env ## Stop the containers; their volumes stay
	@$(COMPOSE) down

image: ## Build the image with docker or buildah, and run what is in it
	@deploy/image.sh

##@ For maintainers of Lotus Lake

check: $(READY) ## Check format, lint, types, SQL, derived files, lock and deployment
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint --disable-progress-bar include/dbt
	$(BIN)/yamllint --strict .
	$(BIN)/shellcheck .ci/run deploy/*.sh tests/*.sh
	$(BIN)/python -m lotus_lake.cli validate
	$(BIN)/python -m lotus_lake.cli airbyte-catalog --check
	$(BIN)/python tests/check_terraform.py
	$(BIN)/python tests/check_lock.py
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/python tests/check_deploy.py
	$(BIN)/actionlint -shellcheck $(BIN)/shellcheck
	$(BIN)/zizmor --offline --quiet --no-progress .github/workflows

test: $(READY) ## Run the fast test suite, three files at a time
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not e2e and not distributed and not openlineage" $(ARGS)

test-s3: $(READY) ## Run the tests that use a store on Ceph's S3 server (root on Debian: installs it)
	@tests/install_ceph.sh
	S3_SERVER=ceph $(BIN)/python -m pytest -n 2 --dist loadfile $(S3_TESTS) $(ARGS)

test-s3-quick: S3_TESTS := $(S3_QUICK)
test-s3-quick: test-s3 ## Run those for what stores do differently

e2e: $(READY) ## Run a live scheduler against files that keep arriving, and look at the Lake page in Chromium
	$(BIN)/python -m pytest -m e2e $(ARGS)

openlineage: $(PROVIDER)/.ready ## Let OpenLineage's provider emit its events on a live scheduler, and compare them with the lake
	PYTHONPATH=$(PYTHONPATH):$(PROVIDER) $(BIN)/python -m pytest -m openlineage $(ARGS)

$(PROVIDER)/.ready: requirements-openlineage.txt | $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps --target $(PROVIDER) -r $<
	@touch $@

chaos: $(READY) ## Kill every process 1,200 times on both catalogs, feed 2,000 damaged files, each poison alone, then TPC-H at scale 1
	@$(BIN)/python -W ignore::UserWarning:multiprocessing.resource_tracker -m tests.chaos --seed $(SEED) $(ARGS)
	POISON=alone $(BIN)/python -m pytest -q tests/pipeline/test_poison_matrix.py
	TPCH_SCALE=1 $(BIN)/python -m pytest -q tests/known_answer

distributed: $(READY) ## Run 20 streams on two Celery workers, and kill workers, scheduler and Postgres
	@$(BIN)/python -m tests.distributed $(ARGS)

distributed-quick: $(READY) ## Run it with 4 streams, 120 files and one kill
	$(BIN)/python -m pytest -m distributed $(ARGS)

mutants: $(READY) ## Remove one protection at a time, and see its test fail
	@$(BIN)/python tests/mutations.py $(ARGS)

walkthrough: $(READY) ## Repeat a new user's steps, and write docs/walkthrough.md and the end of docs/changing-models.md
	@$(BIN)/python -m tests.walkthrough
	@$(BIN)/python -m tests.walkthrough_change

connectors: $(READY) ## Feed every stream of real connectors, and write docs/connectors.md
	@$(BIN)/python -m tests.connectors $(ARGS)

CHROMIUM ?= chromium
picture: ## Photograph the Lake page of a running demo-ui with Chromium, for the docs
	$(CHROMIUM) --headless --no-sandbox --disable-gpu --hide-scrollbars --virtual-time-budget=25000 --window-size=1440,900 \
		--user-data-dir=$$(mktemp -d) --screenshot=docs/images/lake.png http://127.0.0.1:$(PORT)/plugin/lake

simulate: $(READY) ## Simulate 30 days of hourly syncs for the figures in docs/maintenance.md
	@$(BIN)/python -m tests.simulation $(ARGS)

bench: $(READY) ## Compare speed and cost with the alternatives; writes benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(READY) ## Run the benchmarks at small sizes
	@$(BIN)/python -m benchmarks --quick $(ARGS)

format: $(READY) ## Format Python and SQL
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix --disable-progress-bar include/dbt

docs: $(READY) ## Derive the reference pages of docs/ from the commands and the stream model
	@$(BIN)/python -m lotus_lake.cli landing
	@$(BIN)/python -m lotus_lake.cli.reference

# --universal: one lock for every platform and Python version; no index address is recorded.
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
lock: $(READY) ## Compile requirements*.txt from pyproject.toml
	$(BIN)/$(LOCK) pyproject.toml -o requirements.txt
	$(BIN)/$(LOCK) pyproject.toml --extra production -c requirements.txt -o requirements-production.txt
	$(BIN)/$(LOCK) pyproject.toml --extra dev -c requirements.txt -o requirements-dev.txt
	$(BIN)/$(LOCK) --no-deps -o requirements-openlineage.txt - <<< 'apache-airflow-providers-openlineage>=2.20,<3'
