"""How a stream is, in one word: each rule, and which of them comes first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lotus_lake.config.stream_config import FeederOptions
from lotus_lake.ledger.acknowledgements import Acknowledged, Acknowledgement
from lotus_lake.observe.states import (
    Condition,
    Finding,
    Verdict,
    acknowledge,
    find,
    judge,
    judge_enriched,
    paused,
)
from lotus_lake.observe.status import StreamStatus

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PROMISE = FeederOptions.model_validate(
    {"freshness": {"warn_after_seconds": 7200, "error_after_seconds": 86400}}
)


def look(
    feeder: FeederOptions | None = PROMISE,
    error: str | None = None,
    unbalanced: str | None = None,
    is_growing: bool = False,
    **status: Any,
) -> Verdict:
    standing = {"seen": 3, "landed": 3, "last_landed_at": NOW - HOUR} | status
    stream = StreamStatus("shop/orders", True, **standing)
    found = find(
        stream,
        feeder,
        now=NOW,
        patience_seconds=3600,
        config_error=error,
        unbalanced=unbalanced,
        is_growing=is_growing,
    )
    return judge(found, stream, feeder)


@pytest.mark.parametrize(
    ("status", "state", "level", "reason"),
    [
        ({}, "fresh", "ok", "everything that arrived has landed"),
        ({"last_landed_at": NOW - 3 * HOUR}, "late", "warning", "for 3 h; `freshness` allows 2 h"),
        ({"last_landed_at": NOW - 72 * HOUR}, "late", "error", "3 days; `freshness` allows 24 h"),
        ({"quarantined": 2}, "broken", "error", "2 files in quarantine"),
        ({"missing": 1}, "broken", "error", "1 file whose object is missing"),
        ({"seen": 0, "landed": 0, "last_landed_at": None}, "empty", "off", "no file has arrived"),
        (
            {"waiting": 1, "waiting_bytes": 2000, "oldest_waiting_at": NOW - 3 * HOUR,
             "last_landed_at": NOW - 2 * HOUR},
            "stuck", "error", "1 file (2 kB) waiting for 3 h",
        ),
        (
            {"lag_files": 2, "unread_since": NOW - 2 * HOUR, "slowest_model": "int_shop__orders"},
            "stuck", "error", "int_shop__orders has not read 2 landed files for 2 h",
        ),
        # A queue that gets shorter, however old its oldest file is.
        ({"waiting": 900, "oldest_waiting_at": NOW - 9 * HOUR}, "fresh", "ok", "on the way"),
        ({"quarantined": 1, "last_landed_at": NOW - 72 * HOUR}, "broken", "error", "quarantine"),
    ],
)  # fmt: skip
def test_a_stream_is(status: dict[str, Any], state: str, level: str, reason: str) -> None:
    verdict = look(**status)
    assert (verdict.state, verdict.level) == (state, level)
    assert reason in verdict.reason


def test_a_stream_out_of_balance_is_broken_and_one_whose_queue_grows_is_growing() -> None:
    verdict = look(quarantined=1, unbalanced="1 registration unknown to the ledger")
    assert verdict.reason == "1 file in quarantine and 1 registration unknown to the ledger"
    assert look(unbalanced="1 file with other rows").state == "broken"
    waiting = {"waiting": 12, "oldest_waiting_at": NOW - 9 * HOUR}
    verdict = look(is_growing=True, **waiting)
    assert (verdict.state, verdict.level) == ("growing", "warning")
    assert verdict.reason.startswith("12 files waiting, more after each of the last 3 hours")
    late = look(is_growing=True, **waiting | {"last_landed_at": NOW - 3 * HOUR})
    assert late.state == "stuck"  # nothing lands at all


def test_what_somebody_has_seen_is_the_same_until_it_begins_again() -> None:
    seen = Acknowledged(Acknowledgement(NOW, "anna", ("1 file with other rows",)))

    def is_seen(condition: Condition, since: datetime | None = None, reason: str = "") -> bool:
        found = Finding(condition, Verdict("broken", "error", reason), since)
        return acknowledge([found], seen)[0].is_acknowledged

    assert is_seen("late", NOW - HOUR)
    assert not is_seen("late", NOW + HOUR)  # it has landed since, and is late again
    assert is_seen("unbalanced", reason="1 file with other rows")
    assert not is_seen("unbalanced", reason="2 files with other rows")
    assert is_seen("quarantined")  # no file has changed since
    seen = Acknowledged(seen.latest, {"quarantined": 1})
    assert not is_seen("quarantined")
    assert is_seen("missing")
    growing = find(
        StreamStatus("shop/orders", True, seen=9, waiting=9, last_landed_at=NOW + 30 * HOUR),
        FeederOptions(),
        now=NOW + 30 * HOUR,
        patience_seconds=3600,
        is_growing=True,
    )
    assert not acknowledge(growing, seen)[0].is_acknowledged  # a day later it still grows
    seen = Acknowledged()  # only files were acknowledged, by name
    assert not is_seen("late", NOW - HOUR)


def test_without_a_promise_no_silence_is_late_and_that_is_said() -> None:
    verdict = look(FeederOptions(), last_landed_at=NOW - timedelta(days=90))
    assert verdict.state == "fresh"
    assert "no freshness limit is set" in verdict.reason


def test_a_stream_without_a_config_is_paused_and_one_with_a_bad_config_broken() -> None:
    assert look(None).state == "paused"
    assert look(None, error="$.stream: is required").reason.endswith("$.stream: is required")


def test_a_paused_dag_hides_lateness_in_its_reason_and_hides_no_bad_file() -> None:
    late = paused(look(last_landed_at=NOW - 72 * HOUR))
    assert (late.state, late.level) == ("paused", "off")
    assert "nothing has landed for 3 days" in late.reason
    assert paused(look(quarantined=1)).state == "broken"
    assert paused(look()).reason == "its Dag is paused"


@pytest.mark.parametrize(
    ("promise", "age", "state", "level", "reason"),
    [
        (None, 90 * HOUR, "fresh", "ok", "as its model was last built"),
        ({"warn_after_seconds": 7200}, HOUR, "fresh", "ok", "as its model was last built"),
        (
            {"warn_after_seconds": 7200},
            3 * HOUR,
            "late",
            "warning",
            "for 3 h; `freshness` allows 2",
        ),
        ({"error_after_seconds": 7200}, None, "late", "error", "since before the oldest snapshot"),
        ({"warn_after": 1}, HOUR, "broken", "error", "`config.meta.freshness` of its model: "),
        ("soon", HOUR, "broken", "error", "`config.meta.freshness` of its model: "),
    ],
)
def test_an_enriched_table_is(
    promise: object, age: timedelta | None, state: str, level: str, reason: str
) -> None:
    built_at = NOW - age if age else None
    found = judge_enriched(built=True, built_at=built_at, promise=promise, now=NOW)
    assert (found.state, found.level) == (state, level)
    assert reason in found.reason


def test_a_table_that_was_never_built_is_late_for_nobody() -> None:
    promise = {"error_after_seconds": 1}
    found = judge_enriched(built=False, built_at=None, promise=promise, now=NOW)
    assert (found.state, found.level) == ("empty", "off")
