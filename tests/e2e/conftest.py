"""One Airflow for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.standalone import Deployment, lake_with_bucket, run_standalone

STREAMS = ("orders", "order_refunds", "customers")


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """`airflow standalone` on an empty bucket, with the three Shopify streams."""
    root = tmp_path_factory.mktemp("deployment")
    with lake_with_bucket(root, STREAMS) as env, run_standalone(root, env) as running:
        running.wait_until(lambda: running.waiting_streams() == len(STREAMS), "sensors wait")
        yield running
