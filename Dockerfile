# Any image with Python 3.11 to 3.13; for Astro, give its runtime image instead.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

ENV AIRFLOW_HOME=/usr/local/airflow \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__COSMOS__ENABLE_TELEMETRY=False \
    DBT_SEND_ANONYMOUS_USAGE_STATS=false \
    LAKE_PROJECT_DIR=/usr/local/airflow \
    PYTHONPATH=/usr/local/airflow/plugins \
    PYTHONDONTWRITEBYTECODE=1

WORKDIR ${AIRFLOW_HOME}
RUN useradd --uid 50000 --gid 0 --home-dir ${AIRFLOW_HOME} --no-create-home airflow

# The DuckDB extensions come as wheels with the rest: the image needs no download at run time.
COPY requirements.txt .
RUN python -m pip install --no-cache-dir --require-hashes -r requirements.txt

COPY pyproject.toml LICENSE README.md ./
COPY plugins plugins
COPY include include
COPY dags dags

# Fails the build when streams, derived files and models do not fit together, and bakes in the dbt
# manifest, so that no container parses the dbt project.
RUN python -m lotus_lake.cli validate \
    && python -c "from lotus_lake.manifest import ensure_manifest; from pathlib import Path; ensure_manifest(Path('.').absolute())" \
    && mkdir -p .lake && chown -R airflow:0 ${AIRFLOW_HOME} && chmod -R g=u ${AIRFLOW_HOME}

# The command line, without a build step.
RUN printf '#!/bin/sh\nexec python -m lotus_lake.cli "$@"\n' > /usr/local/bin/lotus-lake \
    && chmod 755 /usr/local/bin/lotus-lake

USER airflow
CMD ["airflow", "standalone"]
