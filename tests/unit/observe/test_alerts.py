"""Each thing that is wrong is told once, and once when it no longer is."""

from __future__ import annotations

from datetime import UTC, datetime

from lotus_lake.ledger.schema_changes import NewChange, SchemaChange
from lotus_lake.observe.alerts import Alert, Subject, changes_of_tables, compare
from lotus_lake.observe.states import Verdict

FINE = Verdict("fresh", "ok", "all is well")
LATE = Verdict("late", "warning", "for an hour")
BROKEN = Verdict("broken", "error", "1 file in quarantine")
LOST = Verdict("broken", "error", "1 file whose object is missing")
PAUSED = Verdict("paused", "off", "no stream config selects it")
ONLY_BROKEN = Subject(BROKEN, {"quarantined": BROKEN})
ONLY_LATE = Subject(LATE, {"late": LATE})
ALL_FINE = Subject(FINE, {})


def test_streams_and_tables_are_told_once_each_and_once_when_they_are_fine() -> None:
    subjects = {"shop__orders": ONLY_BROKEN, "fct_sales": ONLY_LATE, "fct_fine": ALL_FINE}
    alerts, known = compare({}, subjects)
    assert alerts == [
        Alert("shop__orders", "broken", "error", "1 file in quarantine"),
        Alert("fct_sales", "late", "warning", "for an hour"),
    ]
    assert compare(known, subjects) == ([], known)
    alerts, known = compare(known, {"shop__orders": ONLY_LATE, "fct_sales": ALL_FINE})
    assert [alert.text for alert in alerts] == [
        "shop__orders is late: for an hour",
        "shop__orders is no longer quarantined: it still is late: for an hour",
        "fct_sales is fresh: all is well",
    ]
    assert known == {"shop__orders": ["late"]}


def test_what_comes_on_top_is_told_although_the_state_stays() -> None:
    _, known = compare({}, {"shop__orders": ONLY_BROKEN})
    both = Verdict("broken", "error", f"{BROKEN.reason} and {LOST.reason}")
    now = {"shop__orders": Subject(both, {"quarantined": BROKEN, "missing": LOST})}
    alerts, known = compare(known, now)
    assert [alert.text for alert in alerts] == [f"shop__orders is broken: {LOST.reason}"]
    assert compare(known, now) == ([], known)
    alerts, known = compare(known, {"shop__orders": ALL_FINE})
    assert [alert.text for alert in alerts] == ["shop__orders is fresh: all is well"]
    assert known == {}


def test_what_is_paused_or_gone_needs_nobody() -> None:
    assert compare({"shop__orders": ["late"]}, {"shop__orders": Subject(PAUSED, {})}) == ([], {})
    assert compare({"shop__orders": ["late"]}, {}) == ([], {})


def test_changes_of_a_table_are_one_alert_that_names_some_of_them() -> None:
    at = datetime(2026, 3, 10, tzinfo=UTC)
    changes = [
        NewChange("shop", stream, SchemaChange(column, kind, "BIGINT", key, at))
        for stream, column, kind, key in (
            ("orders", "note", "added", "raw/a.parquet"), ("orders", "id", "widened", None),
            *(("wide", f"c{number}", "added", None) for number in range(7)),
        )
    ]  # fmt: skip
    orders, wide = changes_of_tables(changes)
    assert orders.text == (
        "shop__orders has changed: note BIGINT was added to the table for raw/a.parquet; "
        "id BIGINT was widened in the table for the stream config"
    )
    assert wide.text.endswith("; and 2 more")
