"""What changes between two texts, applied to a third that somebody has edited."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

Lines = list[str]


def merged(
    base: str, new: str, edited: str, is_anchor: Callable[[str], bool] = bool
) -> tuple[str, list[str]]:
    """Apply the changes from `base` to `new` to a text that began as `base`.

    Lines are added before the next line that is still there once, and lines are replaced where
    they are as they were. What has no place any more is left out.

    Args:
        base: What was generated before.
        new: What is generated now.
        edited: What is there.
        is_anchor: Whether lines may be added before a line.

    Returns:
        The text, and the lines that found no place.
    """
    old, wanted, lines = (text.splitlines() for text in (base, new, edited))
    lost: Lines = []
    matcher = difflib.SequenceMatcher(None, old, wanted, autojunk=False)
    # From the end on, so that places found are not moved by what is added.
    for tag, start, end, new_start, new_end in reversed(matcher.get_opcodes()):
        block = wanted[new_start:new_end]
        if tag == "insert":
            place = _place(old[start:], lines, is_anchor)
        elif tag == "equal":
            continue
        else:
            place = _found(old[start:end], lines)
        if place is None:
            lost = [*block, *lost]
        else:
            lines[place : place + end - start] = block
    return "\n".join(lines) + "\n", lost


def _place(after: Sequence[str], lines: Lines, is_anchor: Callable[[str], bool]) -> int | None:
    """Before the first of the lines that follow, and is still there once."""
    for line in after:
        if line.strip() and is_anchor(line) and lines.count(line) == 1:
            return lines.index(line)
    return None


def _found(block: Lines, lines: Lines) -> int | None:
    """Where lines are as they were, if that is one place."""
    starts = [
        number for number in range(len(lines)) if lines[number : number + len(block)] == block
    ]
    return starts[0] if len(starts) == 1 else None
