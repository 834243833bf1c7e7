"""The result of a check, and how checks are run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from lotus_lake.errors import LotusLakeError

State = Literal["ok", "problem", "skipped"]
_NAMES_SHOWN = 3

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class Result:
    """What a check returns: a state, what was seen, and how to fix a problem."""

    state: State
    text: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check, with the name of the check."""

    check: str
    state: State
    text: str
    hint: str | None = None


def ok(text: str) -> Result:
    """Nothing is wrong."""
    return Result("ok", text)


def skipped(text: str) -> Result:
    """The check does not apply."""
    return Result("skipped", text)


def problem(text: str, *, hint: str) -> Result:
    """Something has to be fixed; the hint says how."""
    return Result("problem", text, hint)


def run(checks: Sequence[Callable[[Subject], Result]], subject: Subject) -> list[Finding]:
    """Run checks; one that cannot finish is a problem and stops no other."""
    return [run_one(check, subject) for check in checks]


def run_one(check: Callable[[Subject], Result], subject: Subject) -> Finding:
    """Run one check."""
    try:
        result = check(subject)
    except LotusLakeError as error:
        return finding_of(check, error)
    except Exception as error:  # noqa: BLE001  the other checks have to run, whatever this is
        result = problem(
            f"the check could not finish: {type(error).__name__}: {error}",
            hint="fix what the other checks report, then run the doctor again",
        )
    return Finding(name_of(check), result.state, result.text, result.hint)


def finding_of(check: Callable[..., Any], error: LotusLakeError) -> Finding:
    """The finding of a check that an error ended."""
    text = str(error).partition("\nhint: ")[0]
    return Finding(name_of(check), "problem", text, error.hint or "see the message")


def skip(checks: Iterable[Callable[..., Any]], reason: str) -> list[Finding]:
    """Findings of checks that cannot run."""
    return [Finding(name_of(check), "skipped", reason) for check in checks]


def name_of(check: Callable[..., Any]) -> str:
    """The name of a check: that of its function, in words."""
    function = check.func if isinstance(check, functools.partial) else check
    return str(function.__name__).replace("_", " ")


def some_of(names: Iterable[object]) -> str:
    """The first few of many names."""
    found = [str(name) for name in names]
    more = len(found) - _NAMES_SHOWN
    return ", ".join(found[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
