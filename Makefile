# The front door. Every target sets up what it needs: a virtual environment in .venv with the
# locked dependencies; nothing outside this folder is touched.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SEED ?= 7
SCALE ?= 1
PORT ?= 8080
# What meets a store; and the part of it in which stores differ.
S3_TESTS := tests/integration tests/unit/bucket/test_objects.py tests/pipeline/test_disaster.py tests/chaos/test_store_restarts.py
S3_QUICK := $(patsubst %,tests/integration/test_%.py,real_store exactly_once nothing_is_late overwrite_streams quarantine reconcile replaced_object)

export PYTHONPATH := plugins:.
# With it every process compiles what it imports, which for Airflow takes as long as the imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo demo-ui drop status demo-stop demo-clean test test-s3 test-s3-quick chaos distributed distributed-quick walkthrough simulate mutants bench bench-quick check validate e2e format lock landing airbyte-catalog docs image up down

help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(READY): requirements-dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v < (3, 14) or sys.exit("Lotus Lake needs Python 3.11 to 3.13, %s is %d.%d; hint: make PYTHON=python3.11 ..." % (sys.executable, *v))'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r <(grep -A99 '^uv==' requirements-dev.txt | awk 'NR > 1 && /^[a-zA-Z]/ {exit} {print}')
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(READY) ## Create .venv with the locked dependencies

demo: $(READY) ## Write sample files, run every Dag with real Airflow, show the tables
	@$(BIN)/python -m samples.demo run --seed $(SEED) --scale $(SCALE)

demo-ui: $(READY) ## Airflow's scheduler and web UI on the demo's lake (PORT=8080)
	@$(BIN)/python -m samples.demo ui --port $(PORT)

drop: $(READY) ## Let a few more files arrive in the demo's bucket
	@$(BIN)/python -m samples.demo drop

status: $(READY) ## Where each stream stands
	@$(BIN)/lotus-lake status

demo-stop: $(READY) ## Stop the demo's S3 server; everything stays on disk
	@$(BIN)/python -m samples.demo stop

demo-clean: $(READY) ## Forget the demo: bucket, lake and Airflow's database
	@$(BIN)/python -m samples.demo clean

test: $(READY) ## The whole fast test suite, three files at a time
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not e2e and not distributed" $(ARGS)

test-s3: $(READY) ## The tests that meet a store, on Ceph's S3 server (as root on Debian it is installed)
	@tests/install_ceph.sh
	S3_SERVER=ceph $(BIN)/python -m pytest -n 2 --dist loadfile $(S3_TESTS) $(ARGS)

test-s3-quick: S3_TESTS := $(S3_QUICK)
test-s3-quick: test-s3 ## The same for what stores do differently

e2e: $(READY) ## Scheduler, triggerer and api-server against files that keep arriving
	$(BIN)/python -m pytest -m e2e $(ARGS)

chaos: $(READY) ## 1,200 kills of every process on both catalogs, then TPC-H at scale 1; report in .lake/chaos
	@$(BIN)/python -W ignore::UserWarning:multiprocessing.resource_tracker -m tests.chaos --seed $(SEED) $(ARGS)
	TPCH_SCALE=1 $(BIN)/python -m pytest -q tests/known_answer

distributed: $(READY) ## 20 streams on two Celery workers; a worker, the scheduler and Postgres are killed
	@$(BIN)/python -m tests.distributed $(ARGS)

distributed-quick: $(READY) ## The same with 4 streams, 120 files and one kill
	$(BIN)/python -m pytest -m distributed $(ARGS)

walkthrough: $(READY) ## Walk a new user's way once more, and write docs/walkthrough.md
	@$(BIN)/python -m tests.walkthrough

simulate: $(READY) ## 30 days of hourly syncs, with and without upkeep; figures of docs/maintenance.md
	@$(BIN)/python -m tests.simulation $(ARGS)

mutants: $(READY) ## Take one protection away at a time, and see its test fail
	@$(BIN)/python tests/mutations.py $(ARGS)

bench: $(READY) ## Speed and cost beside the alternatives; writes benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(READY) ## The same at small sizes, to see that it still runs
	@$(BIN)/python -m benchmarks --quick $(ARGS)

check: $(READY) ## Everything that needs no run: format, lint, types, SQL, derived files, lock, deployment
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
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

format: $(READY) ## Format Python and SQL
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix --disable-progress-bar include/dbt

validate: $(READY) ## Stream configs, landing DDL, dbt sources and models against each other
	@$(BIN)/python -m lotus_lake.cli validate

landing: $(READY) ## Derive the landing DDL and the JSON Schema from the stream configs
	@$(BIN)/python -m lotus_lake.cli landing

docs: $(READY) ## Derive the reference pages of docs/ from the commands and the stream model
	@$(BIN)/python -m lotus_lake.cli landing
	@$(BIN)/python -m lotus_lake.cli.reference

airbyte-catalog: $(READY) ## Derive the configured catalogs for Airbyte from the stream configs, for Terraform
	@$(BIN)/python -m lotus_lake.cli airbyte-catalog

image: ## Build the image with docker or buildah, and run what is in it
	@deploy/image.sh

COMPOSE = docker compose --env-file deploy/compose/.env
up: deploy/compose/.env ## All of production in containers: Celery workers, Postgres, Redis, S3
	@$(COMPOSE) up --detach --build --wait
	@sed -n 's,^PORT=,http://127.0.0.1:,p; s,^ADMIN_,user admin: ,p' deploy/compose/.env

deploy/compose/.env:
	@$(PYTHON) deploy/make_secrets.py deploy/compose/example.env $@

down: deploy/compose/.env ## Stop the containers; their volumes stay
	@$(COMPOSE) down

# --universal: one lock for every platform and Python version; no index address is recorded.
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml
lock: $(READY) ## Compile requirements*.txt from pyproject.toml
	$(BIN)/$(LOCK) -o requirements.txt
	$(BIN)/$(LOCK) --extra production -c requirements.txt -o requirements-production.txt
	$(BIN)/$(LOCK) --extra dev -c requirements.txt -o requirements-dev.txt
