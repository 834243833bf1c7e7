# Any image with Python 3.11 to 3.13; for Astro, give its runtime image instead.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

# A base such as Astro Runtime has a user of its own, with the same number.
USER 0
ENV AIRFLOW_HOME=/usr/local/airflow \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    LAKE_PROJECT_DIR=/usr/local/airflow \
    PYTHONPATH=/usr/local/airflow/plugins \
    PYTHONDONTWRITEBYTECODE=1

WORKDIR ${AIRFLOW_HOME}
RUN getent passwd 50000 >/dev/null \
    || useradd --uid 50000 --gid 0 --home-dir ${AIRFLOW_HOME} --no-create-home airflow

# The DuckDB extensions come as wheels with the rest: the image needs no download at run time.
# The lock is complete, and `pip check` proves it; older pips want a hash for an extra, too.
COPY requirements-production.txt .
RUN python -m pip install --no-cache-dir --require-hashes --no-deps -r requirements-production.txt \
    && python -m pip check

COPY pyproject.toml LICENSE README.md ./
COPY plugins plugins
COPY include include
COPY dags dags

# Fails the build when streams, derived files and models do not fit together, and bakes in the dbt
# manifest, so that no container parses the dbt project, and bytecode, so that no process compiles.
RUN python -m compileall -q plugins dags \
    && python -m lotus_lake.cli validate \
    && python -c "from lotus_lake.project.manifest import ensure_manifest; from pathlib import Path; ensure_manifest(Path('.').absolute())" \
    && mkdir -p .lake logs && chown -R 50000:0 ${AIRFLOW_HOME} && chmod -R g=u ${AIRFLOW_HOME}

# The command line, without a build step; and what the probes of Airflow's Helm chart call.
RUN printf '#!/bin/sh\nexec python -m lotus_lake.cli "$@"\n' > /usr/local/bin/lotus-lake \
    && printf '#!/bin/sh\nexec "$@"\n' > /entrypoint \
    && chmod 755 /usr/local/bin/lotus-lake /entrypoint

# By number, so that Kubernetes can see that it is not root.
USER 50000
EXPOSE 8080
# Whatever Airflow says of itself; a role that is not running has no status.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["python", "-c", "\
import http.client, json; \
server = http.client.HTTPConnection('127.0.0.1', 8080, timeout=8); \
server.request('GET', '/api/v2/monitor/health'); \
states = json.load(server.getresponse()).values(); \
exit(any(state['status'] not in ('healthy', None) for state in states))"]
CMD ["airflow", "standalone"]
