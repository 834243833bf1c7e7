"""What to alert people to: streams and tables whose state has changed for the worse, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lotus_lake.observe.states import Level, State, Verdict

# Of what people were alerted to, by its name; what was fine is left out.
Known = Mapping[str, State]


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
        return f"{self.subject} is {self.state}: {self.reason}"


def compare(known: Known, verdicts: Mapping[str, Verdict]) -> tuple[list[Alert], Known]:
    """Alerts since the last comparison, and what to compare the next one with.

    A stream or table is alerted once when its state becomes one that needs a person, and once when
    it no longer is. A stream that nothing feeds any more is neither.

    Args:
        known: What the last comparison returned; nothing at first.
        verdicts: How each is now.
    """
    bad: dict[str, State] = {}
    alerts = []
    for name, verdict in verdicts.items():
        is_bad = verdict.level in ("error", "warning")
        if is_bad:
            bad[name] = verdict.state
        if bad.get(name) != known.get(name) and (is_bad or verdict.level == "ok"):
            alerts.append(Alert(name, verdict.state, verdict.level, verdict.reason))
    return alerts, bad
