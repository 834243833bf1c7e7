"""One Airflow for the session, in this very process; a lake for each test."""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import shutil
import socketserver
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.loaders import JSONFileLoader

from tests.proxy import Proxy, run_proxy
from tests.servers import S3Server

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag

PROJECT = Path(__file__).resolve().parents[2]

# Airflow reads its configuration once, when it is imported.
if "airflow" in sys.modules:
    raise RuntimeError("Airflow was imported before its AIRFLOW_HOME was chosen")
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="lotus-airflow-"))
atexit.register(shutil.rmtree, AIRFLOW_HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[_name]
os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    # `dbt parse`, for which a look at the Dag files waits, takes its time beside other tests.
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
}
# Nothing is to call home in a plain checkout: no variable of this machine may see to it.
for _name in ("DO_NOT_TRACK", "SCARF_NO_ANALYTICS", "DBT_SEND_ANONYMOUS_USAGE_STATS"):
    os.environ.pop(_name, None)


@pytest.fixture(autouse=True, scope="session")
def botocore_reads_its_data_once() -> Iterator[None]:
    """Every session of boto3 reads 3 MB of JSON, for half a second."""
    loader = JSONFileLoader()
    read = functools.cache(loader.load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: read(path))
        yield


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Airflow's metadata database."""
    from airflow.utils.db import initdb

    initdb()
    gc.freeze()  # Airflow's modules stay: to look through them takes 0.2 s at the end of each run


@pytest.fixture(scope="session")
def known_dags(airflow_database: None) -> None:
    """Airflow's database knows the Dags of streams that other Dags trigger."""
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.sdk import DAG
    from airflow.serialization.definitions.dag import SerializedDAG
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session

    with create_session() as session:
        session.merge(DagBundleModel(name="tests"))
        session.flush()
        for dag_id in ("shop__orders", "shopify__orders"):
            dag = LazyDeserializedDAG.from_dag(DAG(dag_id, schedule=None))
            SerializedDAG.bulk_write_to_db("tests", None, [dag], session=session)
            SerializedDagModel.write_dag(dag, bundle_name="tests", session=session)


@pytest.fixture(autouse=True)
def no_lake_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the environment says where a lake or a bucket is, unless the test says so."""
    for name in list(os.environ):
        if name.startswith(("LAKE_", "AWS_", "AIRFLOW_CONN_")):
            monkeypatch.delenv(name)


def load_dags() -> DagBag:
    """Parse the folder of Dags, as Airflow's Dag processor does."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(PROJECT / "dags")


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    """A SQLite catalog: what differs between catalogs is below Airflow."""
    return f"sqlite:{tmp_path / 'catalog.sqlite'}"


class _Listener(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.server.asked.append(self.request.recv(4096).split(b"\r\n")[0])  # type: ignore[attr-defined]


@pytest.fixture
def called_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What this process and its children ask of servers on the internet; each gets no answer."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Listener) as server:
        asked: list[bytes] = []
        server.asked = asked  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # Plain HTTP stays direct: the test's own servers speak it, telemetry never does.
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_address[1]}")
        yield asked
        server.shutdown()


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[Proxy]:
    """What Airflow reaches the S3 server through."""
    assert s3.access.endpoint_url is not None
    with run_proxy(s3.access.endpoint_url) as running:
        yield running


@pytest.fixture
def connection(s3: S3Server, proxy: Proxy) -> str:
    """The connection `aws_default` to it."""
    secret = s3.access.secret_access_key
    assert secret is not None
    return json.dumps(
        {
            "conn_type": "aws",
            "login": s3.access.access_key_id,
            "password": secret.get_secret_value(),
            "extra": {"endpoint_url": proxy.url, "region_name": s3.access.region},
        }
    )


@pytest.fixture
def deployed(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], connection: str
) -> dict[str, str]:
    """The test's lake in the environment of this process, S3 as an Airflow connection."""
    lake = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    for name, value in {**lake, "AIRFLOW_CONN_AWS_DEFAULT": connection}.items():
        monkeypatch.setenv(name, value)
    return environment
