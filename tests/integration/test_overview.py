"""What the Lake page shows of all streams, against a real lake."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lotus_lake.lake.session import META, Lake
from lotus_lake.observe.overview import ModelLag, StreamOverview, read_overview
from lotus_lake.project.manifest import built_models
from tests.catalogs import on_sqlite
from tests.consuming import consume, write_manifest
from tests.feeds import DAY, SOURCE, Feed

pytestmark = on_sqlite
MODEL = "int_shop__orders"


def streams(lake: Lake, now: datetime | None = None) -> dict[str, StreamOverview]:
    return {found.stream_id: found for found in read_overview(lake, now).streams}


def test_every_stream_says_how_it_is(make_feed: Callable[..., Feed], lake: Lake) -> None:
    fresh, bad = make_feed("orders"), make_feed("refunds")
    late = make_feed("customers", freshness={"warn_after_seconds": 60})
    make_feed("products")
    for feed in (fresh, bad, late):
        feed.put()
        feed.run(lake)
    bad.put_bytes("broken.parquet", b"x" * 99)
    bad.run(lake)
    (lake.settings.streams_dir / SOURCE / "typo.json").write_text('{"stream": "typo"}')
    now = datetime.now(UTC) + timedelta(minutes=5)

    found = streams(lake, now)

    assert {name: stream.verdict.state for name, stream in found.items()} == {
        "shop__customers": "late",
        "shop__orders": "fresh",
        "shop__products": "empty",
        "shop__refunds": "broken",
        "shop__typo": "broken",
    }
    assert "fields" in found["shop__typo"].verdict.reason
    assert streams(lake, now + timedelta(days=2))["shop__orders"].verdict.state == "fresh"


def test_a_lake_that_was_never_fed_and_a_folder_that_is_not_there(
    make_feed: Callable[..., Feed], lake: Lake
) -> None:
    assert streams(lake) == {}
    make_feed("orders")
    assert streams(lake)["shop__orders"].verdict.state == "empty"


def test_rows_of_today_are_beside_those_of_a_usual_day(feed: Feed, lake: Lake) -> None:
    for part, rows in enumerate((10, 20, 60, 5)):
        feed.put(f"part_{part}.parquet", rows)
        feed.run(lake, f"run {part}")
    today = datetime.now(UTC)
    for part, ago in enumerate((4, 3, 1)):  # nothing has landed two days ago
        lake.con.execute(
            f"UPDATE {META}.file_events SET recorded_at = now() - to_days({ago}) "
            f"WHERE dag_run_id = 'run {part}'"
        )
    (found,) = read_overview(lake, today).streams
    assert (found.rows_today, found.rows_usual) == (5, 15.0)


def test_each_model_has_its_lag_and_each_mart_its_inputs(feed: Feed, lake: Lake) -> None:
    write_manifest(
        feed.settings,
        (MODEL, feed.stream.id),
        ("int_shop__lines", feed.stream.id),
        enriched={"fct_sales": [MODEL]},
    )
    feed.put("part_0.parquet")
    feed.run(lake)
    consume(feed, lake, MODEL)
    feed.put("part_1.parquet", day=DAY + timedelta(days=1))
    feed.run(lake)

    overview = read_overview(lake)

    (found,) = overview.streams
    lags = {lag.model: lag.files for lag in found.models}
    assert lags == {MODEL: 1, "int_shop__lines": 2}
    assert all(isinstance(lag, ModelLag) and lag.unread_since for lag in found.models)
    (sales,) = overview.enriched
    assert (sales.domain, sales.parents, sales.status.built) == ("sales", (MODEL,), False)
    assert set(built_models(feed.settings.project_dir)) > {"fct_sales"}


def test_a_queue_that_is_longer_after_each_hour_although_files_land_grows(
    feed: Feed, lake: Lake
) -> None:
    def arrive(hours_ago: float, *names: str, landed: bool = False) -> None:
        for name in names:
            feed.put(f"{name}.parquet")
        feed.run(lake) if landed else feed.list_files(lake)
        lake.con.execute(
            f"UPDATE {META}.file_events SET recorded_at = ? WHERE recorded_at > ?",
            [now - timedelta(hours=hours_ago), now - timedelta(minutes=10)],
        )

    def state(later: timedelta = timedelta()) -> str:
        return streams(lake, now + later)[feed.stream.id].verdict.state

    now = datetime.now(UTC) + timedelta(minutes=5)
    arrive(9, "old", landed=True)
    arrive(2.9, "a", landed=True)
    arrive(2.8, "b")
    arrive(1.5, "c", "d")
    assert state() == "stuck"  # nothing lands, which is worse
    lake.con.execute(
        f"INSERT INTO {META}.file_events BY NAME SELECT * REPLACE ('registered' AS event, "
        f"version + 1 AS version, ? AS recorded_at) FROM {META}.file_events "
        "WHERE ends_with(key, '/b.parquet')",
        [now - timedelta(hours=0.5)],
    )
    assert state() == "fresh"  # one came, one landed, in the last hour none came
    arrive(0.2, "e", "f")
    assert state() == "growing"
    assert "4 files waiting" in streams(lake, now)[feed.stream.id].verdict.reason
    assert state(timedelta(minutes=25)) == "fresh"  # the first of three hours has brought none
    feed.run(lake)
    assert state() == "fresh"


def test_an_enriched_table_is_late_once_it_was_not_built_for_longer_than_promised(
    feed: Feed, lake: Lake
) -> None:
    promise = {"freshness": {"warn_after_seconds": 3600}}
    write_manifest(feed.settings, enriched={"fct": []}, meta=promise)
    now = datetime.now(UTC)
    assert read_overview(lake, now).verdicts["fct"].state == "empty"
    lake.con.execute("CREATE TABLE lakehouse.main.fct AS SELECT 1 AS total")
    lake.con.execute("INSERT INTO lakehouse.main.fct SELECT range FROM range(100000)")
    assert read_overview(lake, now).verdicts["fct"].state == "fresh"
    found = read_overview(lake, now + timedelta(hours=2)).verdicts
    assert (found["fct"].state, found["fct"].level) == ("late", "warning")
    assert found.keys() == {"fct", feed.stream.id}
