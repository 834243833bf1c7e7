"""The state of a stream or an enriched table in one word, and why.

Needs no database, so that any view may import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from lotus_lake.config.stream_config import Freshness
from lotus_lake.quantities import counted, readable_bytes, readable_seconds

if TYPE_CHECKING:
    from lotus_lake.config.stream_config import FeederOptions
    from lotus_lake.ledger.acknowledgements import Acknowledged
    from lotus_lake.observe.status import StreamStatus

State = Literal["broken", "paused", "stuck", "growing", "late", "empty", "fresh"]
# Where several are true, the first one is said.
STATES: tuple[State, ...] = ("broken", "paused", "stuck", "growing", "late", "empty", "fresh")
Level = Literal["error", "warning", "off", "ok"]
Condition = Literal[
    "unreadable", "quarantined", "missing", "unbalanced", "stuck", "growing", "late"
]
# A queue grows if it is longer at the end of each of so many hours than at its beginning.
GROWING_HOURS = 3
# A queue that still grows so long after somebody has seen it is news.
GROWING_UNTIL_TOLD_AGAIN = timedelta(days=1)


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


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person has to look at; a stream may have several.

    Attributes:
        condition: What it is.
        verdict: How the stream is because of it.
        since: It is the same as long as this time is; `None` where files or its reason tell that.
        is_acknowledged: Whether a person has seen it as it is now.
    """

    condition: Condition
    verdict: Verdict
    since: datetime | None = None
    is_acknowledged: bool = False


NOT_BUILT = Verdict("empty", "off", "it was not built yet")


def find(
    status: StreamStatus,
    feeder: FeederOptions | None,
    *,
    now: datetime,
    patience_seconds: float,
    config_error: str | None = None,
    unbalanced: str | None = None,
    is_growing: bool = False,
) -> tuple[Finding, ...]:
    """Everything that a person has to look at in a stream, the worst first.

    Args:
        status: Where it stands.
        feeder: How it is fed; `None` without a config.
        now: The time.
        patience_seconds: A file that waits, or rows that a model has not read, are stuck after this
            time without progress.
        config_error: What is wrong with its config.
        unbalanced: What ledger and landing table disagree about.
        is_growing: Whether its queue gets longer although files land.
    """
    unreadable = config_error and f"its config cannot be read: {config_error}"
    quarantined = status.quarantined and f"{counted(status.quarantined, 'file')} in quarantine"
    missing = status.missing and f"{counted(status.missing, 'file')} whose object is missing"
    said: tuple[tuple[Condition, str | int | None], ...] = (
        ("unreadable", unreadable),
        ("quarantined", quarantined),
        ("missing", missing),
        ("unbalanced", unbalanced),
    )
    found = [Finding(name, Verdict("broken", "error", str(why))) for name, why in said if why]
    if feeder is None:
        return tuple(found)
    if stuck := _stuck(status, now, timedelta(seconds=patience_seconds)):
        found.append(Finding("stuck", *stuck))
    if is_growing:
        files = f"{counted(status.waiting, 'file')} waiting, more after each of the last"
        why = f"{files} {GROWING_HOURS} hours although files land"
        verdict = Verdict("growing", "warning", why)
        found.append(Finding("growing", verdict, now - GROWING_UNTIL_TOLD_AGAIN))
    if late := _late(status, feeder, now):
        found.append(Finding("late", late, status.last_landed_at))
    return tuple(found)


def acknowledge(found: Sequence[Finding], seen: Acknowledged) -> tuple[Finding, ...]:
    """The same findings, with what people have seen of them."""
    return tuple(replace(one, is_acknowledged=_is_seen(one, seen)) for one in found)


def _is_seen(one: Finding, seen: Acknowledged) -> bool:
    """Whether nothing of it is newer than what somebody has seen."""
    if one.condition in ("quarantined", "missing"):
        return not seen.unseen.get(one.condition)
    if seen.latest is None:
        return False
    if one.since is None:
        return one.verdict.reason in seen.latest.reasons
    return one.since <= seen.latest.at


def judge(found: Sequence[Finding], status: StreamStatus, feeder: FeederOptions | None) -> Verdict:
    """How a stream is, in a word. That its Dag is paused, only Airflow knows: see `paused`.

    Args:
        found: What a person has to look at.
        status: Where it stands.
        feeder: How it is fed; `None` without a config.
    """
    broken = [one.verdict.reason for one in found if one.verdict.state == "broken"]
    if broken:
        return Verdict("broken", "error", " and ".join(broken))
    if feeder is None:
        return Verdict("paused", "off", "no stream config selects it")
    return found[0].verdict if found else _well(status, feeder)


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


def _stuck(
    status: StreamStatus, now: datetime, patience: timedelta
) -> tuple[Verdict, datetime] | None:
    """How it is stuck, and since when nothing has moved."""
    oldest, landed, unread = status.oldest_waiting_at, status.last_landed_at, status.unread_since
    # A long queue that gets shorter is not stuck.
    if oldest and now - max(oldest, landed or oldest) > patience:
        size = readable_bytes(status.waiting_bytes)
        files = counted(status.waiting, "file")
        said = f"{files} ({size}) waiting for {_since(oldest, now)}"
        return Verdict("stuck", "error", said), max(oldest, landed or oldest)
    if unread and now - unread > patience:
        files = counted(status.lag_files or 0, "landed file")
        said = f"{status.slowest_model} has not read {files} for {_since(unread, now)}"
        return Verdict("stuck", "error", said), unread
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
