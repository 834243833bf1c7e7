"""Streams without a Dag, as an import error of their own."""

from __future__ import annotations

from lotus_lake.airflow.streams import build_streams
from lotus_lake.airflow.tasks import raise_errors
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import load_streams


def check_streams() -> None:
    """Raise what keeps streams from having a Dag.

    Raises:
        LotusLakeError: Names every broken file, with what is wrong in it.
    """
    _, broken = load_streams(Settings.from_env().streams_dir)
    raise_errors([*map(str, broken), *build_streams().errors])
