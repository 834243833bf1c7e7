"""A disk that is small enough to fill up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


class SmallDisk:
    """A disk of a few megabytes, below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def full(self) -> Iterator[Path]:
        """No byte of its folder is free."""
        ballast = self.folder / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        try:
            yield self.folder
        finally:
            ballast.unlink(missing_ok=True)
