"""The state of a stream or an enriched table in one word, and why.

Needs no database, so that any view may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from lotus_lake.config.stream_config import Freshness
from lotus_lake.quantities import counted, readable_bytes, readable_seconds

if TYPE_CHECKING:
    from lotus_lake.config.stream_config import FeederOptions
    from lotus_lake.observe.status import StreamStatus

State = Literal["broken", "paused", "stuck", "late", "empty", "fresh"]
# Where several are true, the first one is said.
STATES: tuple[State, ...] = ("broken", "paused", "stuck", "late", "empty", "fresh")
Level = Literal["error", "warning", "off", "ok"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a stream or a table is.

    Attributes:
        state: The word.
        level: How bad it is.
        reason: Why, in a sentence.
    """

    state: State
    level: Level
    reason: str


NOT_BUILT = Verdict("empty", "off", "it was not built yet")


def judge(
    status: StreamStatus,
    feeder: FeederOptions | None,
    *,
    now: datetime,
    patience_seconds: float,
    config_error: str | None = None,
) -> Verdict:
    """How a stream is. That its Dag is paused, only Airflow knows: see `paused`.

    Args:
        status: Where it stands.
        feeder: How it is fed; `None` without a config.
        now: The time.
        patience_seconds: A file that waits, or rows that a model has not read, are stuck after this
            time without progress.
        config_error: What is wrong with its config.
    """
    if config_error:
        return Verdict("broken", "error", f"its config cannot be read: {config_error}")
    bad = [
        counted(number, "file") + said
        for number, said in (
            (status.quarantined, " in quarantine"),
            (status.missing, " whose object is missing"),
        )
        if number
    ]
    if bad:
        return Verdict("broken", "error", " and ".join(bad))
    if feeder is None:
        return Verdict("paused", "off", "no stream config selects it")
    return (
        _stuck(status, now, timedelta(seconds=patience_seconds))
        or _late(status, feeder, now)
        or _well(status, feeder)
    )


def judge_enriched(
    *, built: bool, built_at: datetime | None, promise: Any, now: datetime
) -> Verdict:
    """How an enriched table is.

    Args:
        built: Whether it is there.
        built_at: When it was built; `None` if that is longer ago than the oldest snapshot.
        promise: `config.meta.freshness` of its model, which nobody has checked.
        now: The time.
    """
    try:
        freshness = Freshness.model_validate(promise) if promise is not None else None
    except ValidationError as error:
        said = "; ".join(problem["msg"] for problem in error.errors())
        return Verdict("broken", "error", f"`config.meta.freshness` of its model: {said}")
    if not built:
        return NOT_BUILT
    if freshness and (found := _beyond(freshness, built_at, now)):
        level, allowed = found
        since = f"for {_since(built_at, now)}" if built_at else "since before the oldest snapshot"
        said = f"it was not built {since}; `freshness` allows {allowed}"
        return Verdict("late", level, said)
    return Verdict("fresh", "ok", "it is as its model was last built")


def paused(verdict: Verdict) -> Verdict:
    """The same stream, whose Dag is paused."""
    if verdict.state == "broken":
        return verdict
    also = "" if verdict.level == "ok" or verdict.state == "empty" else f"; {verdict.reason}"
    return Verdict("paused", "off", f"its Dag is paused{also}")


def _stuck(status: StreamStatus, now: datetime, patience: timedelta) -> Verdict | None:
    oldest, landed, unread = status.oldest_waiting_at, status.last_landed_at, status.unread_since
    # A long queue that gets shorter is not stuck.
    if oldest and now - max(oldest, landed or oldest) > patience:
        size = readable_bytes(status.waiting_bytes)
        files = counted(status.waiting, "file")
        return Verdict("stuck", "error", f"{files} ({size}) waiting for {_since(oldest, now)}")
    if unread and now - unread > patience:
        files = counted(status.lag_files or 0, "landed file")
        said = f"{status.slowest_model} has not read {files} for {_since(unread, now)}"
        return Verdict("stuck", "error", said)
    return None


def _late(status: StreamStatus, feeder: FeederOptions, now: datetime) -> Verdict | None:
    promise, landed = feeder.freshness, status.last_landed_at
    if promise is None or landed is None:
        return None
    if found := _beyond(promise, landed, now):
        level, allowed = found
        said = f"nothing has landed for {_since(landed, now)}; `freshness` allows {allowed}"
        return Verdict("late", level, said)
    return None


def _beyond(promise: Freshness, at: datetime | None, now: datetime) -> tuple[Level, str] | None:
    """How bad it is that the last time was so long ago, and what is allowed."""
    limits: tuple[tuple[Level, float | None], ...] = (
        ("error", promise.error_after_seconds),
        ("warning", promise.warn_after_seconds),
    )
    for level, seconds in limits:
        if seconds is not None and (at is None or now - at > timedelta(seconds=seconds)):
            return level, readable_seconds(seconds)
    return None


def _well(status: StreamStatus, feeder: FeederOptions) -> Verdict:
    if not status.seen:
        return Verdict("empty", "off", "no file has arrived yet")
    if status.waiting:
        return Verdict("fresh", "ok", f"{counted(status.waiting, 'file')} on the way")
    if status.lag_files:
        files = counted(status.lag_files, "landed file")
        return Verdict("fresh", "ok", f"{status.slowest_model} is about to read {files}")
    promise = "" if feeder.freshness else "; no freshness limit is set"
    return Verdict("fresh", "ok", f"everything that arrived has landed{promise}")


def _since(at: datetime, now: datetime) -> str:
    return readable_seconds((now - at).total_seconds())
