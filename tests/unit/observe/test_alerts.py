"""Each change for the worse is told once, and each recovery."""

from __future__ import annotations

from lotus_lake.observe.alerts import Alert, compare
from lotus_lake.observe.states import Verdict

FINE = Verdict("fresh", "ok", "all is well")
LATE = Verdict("late", "warning", "for an hour")
BROKEN = Verdict("broken", "error", "1 file in quarantine")
PAUSED = Verdict("paused", "off", "its Dag is paused")


def test_streams_and_tables_are_told_once_each_and_once_when_they_are_fine() -> None:
    alerts, known = compare({}, {"shop__orders": BROKEN, "fct_sales": LATE, "fct_fine": FINE})
    assert alerts == [
        Alert("shop__orders", "broken", "error", "1 file in quarantine"),
        Alert("fct_sales", "late", "warning", "for an hour"),
    ]
    assert compare(known, {"shop__orders": BROKEN, "fct_sales": LATE}) == ([], known)
    alerts, known = compare(known, {"shop__orders": LATE, "fct_sales": FINE})
    assert [alert.text for alert in alerts] == [
        "shop__orders is late: for an hour", "fct_sales is fresh: all is well",
    ]  # fmt: skip
    assert known == {"shop__orders": "late"}


def test_what_is_paused_or_gone_needs_nobody() -> None:
    assert compare({"shop__orders": "late"}, {"shop__orders": PAUSED}) == ([], {})
    assert compare({"shop__orders": "late"}, {}) == ([], {})
