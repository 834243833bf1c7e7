"""What to alert people to: what has become wrong with streams and tables, what no longer is.

And changes of landing tables, each once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lotus_lake.ledger.schema_changes import NewChange
from lotus_lake.observe.overview import Overview
from lotus_lake.observe.states import Level, Verdict

# What people were alerted to, by the name of the stream or table; what is fine is left out.
Known = Mapping[str, Sequence[str]]
# What is said of a stream whose landing table has got other columns: an event, and no state.
CHANGED = "changed"
# Changes of a table that an alert names; the others are counted.
_NAMED_CHANGES = 5


@dataclass(frozen=True, slots=True)
class Subject:
    """A stream or a table.

    Attributes:
        verdict: How it is.
        findings: What a person has to look at, by its condition.
        acknowledged: The conditions that somebody has seen as they are now.
    """

    verdict: Verdict
    findings: Mapping[str, Verdict]
    acknowledged: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Alert:
    """What has changed.

    Attributes:
        subject: What it is about: the id of a stream, or the name of a table.
        state: Its state now.
        level: How bad that is; `ok` for a recovery.
        reason: Why.
    """

    subject: str
    state: str
    level: Level
    reason: str

    @property
    def text(self) -> str:
        """The same in a line."""
        verb = "has" if self.state == CHANGED else "is"
        return f"{self.subject} {verb} {self.state}: {self.reason}"


def subjects_of(overview: Overview) -> dict[str, Subject]:
    """Streams by the id of their Dag, enriched tables by name."""
    streams = {
        stream.stream_id: Subject(
            stream.verdict,
            {found.condition: found.verdict for found in stream.findings},
            frozenset(one.condition for one in stream.findings if one.is_acknowledged),
        )
        for stream in overview.streams
    }
    tables = {}
    for table in overview.enriched:
        verdict = table.status.verdict
        is_bad = verdict.level in ("error", "warning")
        tables[table.status.model] = Subject(verdict, {verdict.state: verdict} if is_bad else {})
    return streams | tables


def compare(known: Known, subjects: Mapping[str, Subject]) -> tuple[list[Alert], Known]:
    """Alerts since the last comparison, and what to compare the next one with.

    Each condition of a stream or table is alerted once when it begins, and once when it has ended.
    A stream that nothing feeds any more is neither. A condition that was acknowledged is as good as
    forgotten: with something new it begins again.

    Args:
        known: What the last comparison returned; nothing at first.
        subjects: How each is now.
    """
    alerts, bad = list[Alert](), dict[str, Sequence[str]]()
    for name, subject in subjects.items():
        told = set(known.get(name, ()))
        for condition, verdict in subject.findings.items():
            if condition in subject.acknowledged:
                continue
            if condition not in told:
                alerts.append(Alert(name, verdict.state, verdict.level, verdict.reason))
            bad[name] = [*bad.get(name, ()), condition]
        alerts += _recoveries(name, subject, told - subject.findings.keys())
    return alerts, bad


def _recoveries(name: str, subject: Subject, ended: set[str]) -> list[Alert]:
    """What is told of conditions that have ended: that all is well, or what is left."""
    now = subject.verdict
    if not ended or now.level == "off":
        return []
    if now.level == "ok":
        return [Alert(name, now.state, "ok", now.reason)]
    left = f"it still is {now.state}: {now.reason}"
    return [Alert(name, f"no longer {condition}", "ok", left) for condition in sorted(ended)]


def changes_of_tables(changes: Sequence[NewChange]) -> list[Alert]:
    """An alert for each stream whose landing table has changed."""
    by_stream = defaultdict[str, list[str]](list)
    for change in changes:
        by_stream[f"{change.source}__{change.stream}"].append(change.words)
    return [
        Alert(stream_id, CHANGED, "warning", _some(words)) for stream_id, words in by_stream.items()
    ]


def _some(words: Sequence[str]) -> str:
    more = len(words) - _NAMED_CHANGES
    return "; ".join(words[:_NAMED_CHANGES]) + (f"; and {more} more" if more > 0 else "")
