"""A build that would change nothing is known; whatever is not known leads to a build."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lotus_lake.lake.session import LAKE, META, Lake
from lotus_lake.ledger.builds import built_snapshots, why_build
from lotus_lake.upkeep.expiry import expire
from tests.consuming import age
from tests.feeds import Feed

MODEL, INPUT = "fct_sales", "int_shop__orders"
MARK = f"{META}.built_{MODEL}"


def build(lake: Lake, fingerprint: str | None = "one") -> None:
    """What dbt does: the note and the table are one commit."""

    def unit() -> None:
        lake.con.execute(
            f"CREATE TABLE IF NOT EXISTS {MARK} AS SELECT NULL::VARCHAR AS fingerprint, "
            "-1::BIGINT AS read_snapshot_id, now() AS built_at"
        )
        lake.con.execute(
            f"UPDATE {MARK} SET fingerprint = ?, "
            f"read_snapshot_id = (SELECT id FROM {LAKE}.current_snapshot())", [fingerprint],
        )  # fmt: skip
        lake.con.execute(f"CREATE OR REPLACE TABLE {LAKE}.main.{MODEL} AS FROM {LAKE}.main.{INPUT}")

    lake.commit("build", unit)


def why(lake: Lake, fingerprint: str | None = "one") -> str | None:
    return why_build(lake, MODEL, [INPUT], fingerprint)


@pytest.fixture
def built(feed: Feed, lake: Lake) -> Lake:
    """A lake with a model that is what it would be."""
    feed.put()
    feed.run(lake)
    lake.con.execute(f"CREATE TABLE {LAKE}.main.{INPUT} AS SELECT range AS id FROM range(500)")
    assert why(lake) == "fct_sales was not built yet"
    build(lake)
    assert why(lake) is None
    return lake


def test_what_does_not_concern_a_model_does_not_build_it(built: Lake, feed: Feed) -> None:
    before = built_snapshots(built, [MODEL, "fct_other"])
    feed.put("more.parquet")
    feed.run(built)
    built.con.execute(f"CREATE TABLE {LAKE}.main.other AS FROM {LAKE}.main.{INPUT}")
    built.con.execute(f"CALL ducklake_flush_inlined_data('{LAKE}')")
    built.con.execute(f"CALL ducklake_merge_adjacent_files('{LAKE}')")
    assert why(built) is None
    assert built_snapshots(built, [MODEL, "fct_other"]) == before
    assert list(before) == [MODEL]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("INSERT INTO {input} VALUES (1000)", "int_shop__orders has changed"),
        ("INSERT INTO {input} FROM range(1000)", "int_shop__orders has changed"),
        ("DELETE FROM {input} WHERE id = 1", "int_shop__orders has changed"),
        ("DELETE FROM {input}", "int_shop__orders has changed"),
        ("UPDATE {input} SET id = 7 WHERE id = 1", "int_shop__orders has changed"),
        ("CREATE OR REPLACE TABLE {input} AS FROM {input}", "int_shop__orders has changed"),
        ("ALTER TABLE {input} ADD COLUMN b BIGINT", "int_shop__orders has changed"),
        ("DROP TABLE {input}", "int_shop__orders has changed"),
        ("DELETE FROM {model} WHERE id = 1", "somebody has changed fct_sales"),
        ("INSERT INTO {model} VALUES (1)", "somebody has changed fct_sales"),
        ("DROP TABLE {model}", "fct_sales was not built yet"),
        ("DROP TABLE {mark}", "fct_sales was not built yet"),
        ("CREATE OR REPLACE TABLE {model} AS SELECT 1", "somebody has changed fct_sales"),
    ],
)
def test_whatever_changes_a_table_builds_it(built: Lake, change: str, reason: str) -> None:
    names = {"input": f"{LAKE}.main.{INPUT}", "model": f"{LAKE}.main.{MODEL}", "mark": MARK}
    built.con.execute(change.format(**names))
    assert reason in str(why(built))


def test_another_fingerprint_or_none_builds_it(built: Lake) -> None:
    assert "are others than in its build" in str(why(built, "two"))
    assert "is built every time" in str(why(built, None))
    build(built, None)  # by hand
    assert "are others than in its build" in str(why(built))


def test_a_build_that_did_not_commit_is_not_noted(built: Lake) -> None:
    built.con.execute(f"INSERT INTO {LAKE}.main.{INPUT} VALUES (1000)")
    built.con.execute("BEGIN")
    built.con.execute(
        f"UPDATE {MARK} SET read_snapshot_id = (SELECT id FROM {LAKE}.current_snapshot())"
    )
    built.con.execute("ROLLBACK")
    assert "int_shop__orders has changed" in str(why(built))


def test_changes_that_have_expired_are_not_known(built: Lake) -> None:
    for _ in range(2):
        built.con.execute(f"INSERT INTO {LAKE}.main.{INPUT} VALUES (1000)")
    age(built, timedelta(days=5))
    assert expire(built) > 0
    assert "is not known any more" in str(why(built))
