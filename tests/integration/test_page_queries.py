"""What a child process sees of the lake for the Lake page, and how it is kept within bounds."""

from __future__ import annotations

import json
import socket
from dataclasses import replace

import pytest

from lotus_lake.config.connections import CatalogAddress
from lotus_lake.config.settings import Settings
from lotus_lake.errors import LotusLakeError, TransientError
from lotus_lake.lake.connection import open_to_read
from lotus_lake.observe.child import query
from lotus_lake.observe.page_queries import QUERIES
from tests.catalogs import on_sqlite
from tests.consuming import write_manifest
from tests.feeds import Feed

pytestmark = on_sqlite
ALL = {"event": None, "day": None, "key": None, "limit": 1, "offset": 0}


def test_a_child_sees_what_is_there_and_no_value_is_more_than_json(half_fed: Feed) -> None:
    write_manifest(half_fed.settings, ("int_shop__orders", half_fed.stream.id))
    orders = {"source": "shop", "stream": "orders"}
    for name, arguments in {
        "files": {**orders, **ALL},
        "rows": {**orders, "table": None},
        "schema": orders,
        "activity": {**orders, "span": "day"},
        "balance": {**orders, "read": True},
    }.items():
        with open_to_read(half_fed.settings) as lake:
            expected = QUERIES[name](lake, **arguments)
        found = query(half_fed.settings, name, **arguments)
        assert json.dumps(found) == json.dumps(expected, default=lambda at: at.isoformat())
    (stream,) = query(half_fed.settings, "overview")["streams"]
    assert (stream["status"]["landed"], stream["status"]["waiting"]) == (1, 1)


def test_a_lake_that_is_not_there_yet_is_empty(settings: Settings) -> None:
    assert query(settings, "overview")["streams"] == []


def test_what_the_library_says_is_passed_on(half_fed: Feed) -> None:
    with pytest.raises(LotusLakeError, match="there is no table 'x'"):
        query(half_fed.settings, "rows", source="shop", stream="orders", table="x")
    with pytest.raises(LotusLakeError, match="see the log"):
        query(half_fed.settings, "nothing")


def test_a_catalog_that_does_not_answer_ends_the_child(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"host=127.0.0.1 port={silent.getsockname()[1]} dbname=lake"
        waiting = replace(settings, catalog=CatalogAddress("postgres", address))
        with pytest.raises(TransientError, match="did not answer within 3 s"):
            query(waiting, "overview", seconds=3)
