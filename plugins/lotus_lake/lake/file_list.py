"""A list of files as one glob: DuckLake does once for a glob what it does for each file of a list.

It reads the footers of a list one after the other, each with a query of its own, and those of a
glob together. The addresses that the glob gives are those of the list, so that they are opened by
the file systems that they belong to, and stored as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

from lotus_lake.lake.session import Lake

_PROTOCOL = "lotus-lake-list"


@contextlib.contextmanager
def one_glob(lake: Lake, uris: Sequence[str]) -> Iterator[str]:
    """A pattern that matches exactly these files, until the block ends.

    Args:
        lake: Open lake.
        uris: Addresses of the files, which are taken as they are: no character is a wildcard.
    """
    lake.con.register_filesystem(_FileList(uris))
    try:
        yield f"{_PROTOCOL}://*"
    finally:
        lake.con.unregister_filesystem(_PROTOCOL)


class _FileList(AbstractFileSystem):  # type: ignore[misc]
    """Knows addresses, and opens nothing."""

    protocol = _PROTOCOL
    cachable = False  # fsspec would keep every list

    def __init__(self, uris: Sequence[str]) -> None:
        super().__init__()
        self._uris = list(uris)

    def glob(self, path: str, maxdepth: int | None = None, **options: Any) -> list[str]:
        """All of the list, whatever the pattern."""
        return self._uris

    def unstrip_protocol(self, name: str) -> str:
        """An address of another file system stays what it is."""
        return name
