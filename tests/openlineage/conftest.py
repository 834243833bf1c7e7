"""Airflow with OpenLineage's provider, which sends its events to a backend and to nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.openlineage.backend import Backend, run_backend
from tests.processes import free_port
from tests.standalone import Deployment, lake_with_bucket, run_standalone

STREAMS = ("orders", "order_refunds", "customers")


@dataclass(frozen=True)
class Observed:
    """A deployment, its backend, and the secret key of the store."""

    deployment: Deployment
    backend: Backend
    secret: str


@pytest.fixture(scope="session")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """`airflow standalone` on an empty bucket, with the three Shopify streams."""
    root = tmp_path_factory.mktemp("observed")
    with lake_with_bucket(root, STREAMS) as env, run_backend() as backend:
        secret = env.pop("AWS_SECRET_ACCESS_KEY")
        env["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(
            {
                "conn_type": "aws",
                "login": env.pop("AWS_ACCESS_KEY_ID"),
                "password": secret,
                "extra": {"endpoint_url": env.pop("AWS_ENDPOINT_URL"), "region_name": "us-east-1"},
            }
        )
        dead = {
            "type": "http",
            "url": f"http://127.0.0.1:{free_port()}",
            "retry": {"total": 0},
        }
        env |= {
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {
                    "type": "composite",
                    "continue_on_failure": True,
                    "transports": {"dead": dead, "alive": {"type": "http", "url": backend.url}},
                }
            ),
            "AIRFLOW__OPENLINEAGE__NAMESPACE": "shop",
        }
        with run_standalone(root, env) as deployment:
            waiting = len(STREAMS)
            deployment.wait_until(lambda: deployment.waiting_streams() == waiting, "sensors wait")
            yield Observed(deployment, backend, secret)
