"""A problem that a check found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something in a file of the project that would go wrong later, or could be better.

    Attributes:
        file: The file to change.
        message: What is wrong with it.
        hint: What to do about it.
        line: Line of the file, counted from 1; 0 if it concerns all of it, or is not known.
        is_advice: Whether all works without it, too.
    """

    file: Path
    message: str
    hint: str = ""
    line: int = 0
    is_advice: bool = False
