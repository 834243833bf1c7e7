"""`lotus-lake init` makes what a lake lacks, once; `--check` only says what that is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from typer.testing import CliRunner, Result

from lotus_lake.cli import app
from lotus_lake.config.settings import Settings
from lotus_lake.feeder.cursor import read_state
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import LAKE, META, METADATA
from tests.catalogs import on_postgres
from tests.feeds import FIELDS, SHAPE, SOURCE, Feed, write_stream

NEW = ("amount", "address", "lines")
INDEXES = {
    "index on ducklake_file_column_stats (table_id, column_id)",
    "index on ducklake_data_file (table_id)",
}


def init(environment: Mapping[str, str], *options: str) -> Result:
    return CliRunner().invoke(app, ["init", "--json", *options], env=dict(environment))


def things(environment: Mapping[str, str], *options: str, exit_code: int = 0) -> list[str]:
    """What a run made, or, with --check, misses."""
    result = init(environment, *options)
    assert result.exit_code == exit_code, (result.output, result.exception)
    rows = json.loads(result.stdout)
    assert {row["state"] for row in rows} <= {"missing" if "--check" in options else "made"}
    return [row["what"] for row in rows]


def snapshot(settings: Settings) -> int:
    with open_lake(settings) as lake:
        return int(lake.value(f"SELECT id FROM {LAKE}.current_snapshot()"))


def test_a_fresh_catalog_gets_everything_once(
    make_feed: Callable[..., Feed], environment: dict[str, str]
) -> None:
    feeds = [make_feed("orders"), make_feed("refunds")]
    settings = feeds[0].settings
    wanted = things(environment, "--check", exit_code=1)
    assert {
        "table meta.file_events", "table meta.cursor_events", "table meta.attempts",
        "table meta.guard_shop__orders", "table meta.guard_shop__refunds",
        "table staging.stg_shop__orders", "table staging.stg_shop__refunds",
    } <= set(wanted)  # fmt: skip
    assert INDEXES & set(wanted) == (INDEXES if settings.catalog.kind == "postgres" else set())

    made = things(environment)
    assert set(made) == set(wanted)
    after = snapshot(settings)
    assert things(environment, "--check") == []
    assert things(environment) == []
    assert snapshot(settings) == after

    for feed in feeds:
        feed.put("part_0.parquet")
        assert feed.run_afresh().total.registered == 1
    with open_lake(settings) as lake:
        for feed in feeds:
            assert feed.landed(lake) == feed.rows_of(feed.objects())
            assert read_state(lake, feed.stream, "run", []).cursor_path == feed.key(
                "part_0.parquet"
            )
        options = lake.rows(
            f"SELECT scope_entry, option_name, value FROM {LAKE}.options() "
            "WHERE scope_entry LIKE 'staging.%' ORDER BY ALL"
        )
    assert options == [
        (f"staging.stg_shop__{name}", option, value)
        for name in ("orders", "refunds")
        for option, value in (("auto_compact", "false"), ("data_inlining_row_limit", "0"))
    ]
    assert things(environment, "--check") == []


def test_a_check_makes_no_catalog(
    make_feed: Callable[..., Feed], environment: dict[str, str]
) -> None:
    make_feed()
    first = things(environment, "--check", exit_code=1)
    assert things(environment, "--check", exit_code=1) == first


def test_a_lake_of_an_older_release_gets_what_it_lacks(
    make_feed: Callable[..., Feed], environment: dict[str, str]
) -> None:
    feed = make_feed(fields={name: kind for name, kind in FIELDS.items() if name not in NEW})
    shape = {name: kind for name, kind in SHAPE.items() if name not in NEW}
    feed.put("part_0.parquet", shape=shape)
    feed.run_afresh()
    with open_lake(feed.settings) as lake:
        before = feed.landed(lake)
        # As the first release made it.
        lake.con.execute(f"DROP VIEW {META}.feeder_cursors")
        lake.con.execute(f"DROP VIEW {META}.feeder_files")
        lake.con.execute(f"ALTER TABLE {META}.file_events DROP COLUMN generation_id")
        lake.con.execute(f"ALTER TABLE {META}.guard_shop__orders DROP COLUMN first_pending")
        lake.con.execute(
            f"CREATE VIEW {META}.feeder_files AS SELECT source, stream, key, event, data_file "
            f"FROM {META}.file_events"
        )
        lake.con.execute(f"DELETE FROM {METADATA}.ducklake_metadata WHERE key = 'auto_compact'")
        lake.con.execute(f"UPDATE {METADATA}.ducklake_table_column_stats SET contains_null = false")
    write_stream(feed.settings.streams_dir, feed.stream.name, FIELDS)

    wanted = things(environment, "--check", exit_code=1)
    table = "staging.stg_shop__orders"
    assert [what for what in wanted if what not in INDEXES] == [
        "column first_pending of meta.guard_shop__orders",
        "views meta.feeder_files, meta.feeder_cursors and meta.balance",
        f"option auto_compact of {table}",
        f"count of NULLs of {table}",
        f"column amount DOUBLE of {table}",
        f"column address STRUCT(city VARCHAR) of {table}",
        f"column lines STRUCT(sku VARCHAR)[] of {table}",
    ]
    assert things(environment) == wanted
    assert things(environment, "--check") == []
    with open_lake(feed.settings) as lake:
        assert feed.landed(lake) == before
        assert feed.events(lake) == {feed.key("part_0.parquet"): ["registered"]}


def test_a_table_that_cannot_take_its_config_stops_no_other(
    make_feed: Callable[..., Feed], environment: dict[str, str]
) -> None:
    feed = make_feed("orders")
    things(environment)
    make_feed("refunds")
    other: dict[str, Any] = {**FIELDS, "amount": {"type": "boolean"}}
    write_stream(feed.settings.streams_dir, "orders", other)
    (feed.settings.streams_dir / SOURCE / "broken.json").write_text("{")
    for options in (["--check"], []):
        result = init(environment, *options)
        assert result.exit_code == 1
        assert "column amount is DOUBLE, arriving as BOOLEAN" in result.stderr
        assert "broken.json" in result.stderr
        whats = {row["what"] for row in json.loads(result.stdout)}
        assert whats == {"table meta.guard_shop__refunds", "table staging.stg_shop__refunds"}


@on_postgres
def test_an_index_that_somebody_has_made_by_hand_is_enough(
    make_feed: Callable[..., Feed], environment: dict[str, str]
) -> None:
    feed = make_feed()
    things(environment)
    dropped = "index on ducklake_file_column_stats (table_id, column_id)"
    with open_lake(feed.settings) as lake:
        for statement, lacking in (
            ("DROP INDEX ducklake_file_column_stats_of_lotus_lake", [dropped]),
            (
                "CREATE INDEX mine ON ducklake_file_column_stats (table_id, column_id, min_value)",
                [],
            ),
        ):
            lake.con.execute("CALL postgres_execute(?, ?)", [METADATA, statement])
            assert things(environment, "--check", exit_code=len(lacking)) == lacking
