"""Open the lake only to look: writes nothing, also where there is no lake yet."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lotus_lake.config.settings import CatalogAddress, Settings
from lotus_lake.errors import CatalogUnavailableError
from lotus_lake.lake.connection import Lake, open_lake

# DuckLake's words for a database without its tables.
_NOT_CREATED = "creating a new DuckLake is explicitly disabled"


@contextlib.contextmanager
def open_to_read(settings: Settings) -> Iterator[Lake]:
    """Open the lake read-only; where no catalog was created yet, an empty lake stands in for it.

    Raises:
        SettingsError: The catalog belongs to another data path, or needs another DuckLake.
        CatalogUnavailableError: The catalog cannot be reached.
    """
    with contextlib.ExitStack() as stack:
        try:
            lake = stack.enter_context(open_lake(settings, read_only=True))
        except CatalogUnavailableError as error:
            if not _is_absent(settings, error):
                raise
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lotus-lake-"))
            catalog = CatalogAddress("sqlite", str(Path(folder, "catalog.sqlite")))
            empty = replace(settings, catalog=catalog, data_path=f"{folder}/data/")
            lake = Lake(stack.enter_context(open_lake(empty)).con, settings)
        yield lake


def was_fed(lake: Lake) -> bool:
    """Whether the lake has a ledger, that is, whether any stream was ever fed."""
    return "file_events" in lake.tables("meta")


def _is_absent(settings: Settings, error: CatalogUnavailableError) -> bool:
    if settings.catalog.kind == "sqlite" and not Path(settings.catalog.address).exists():
        return True
    return _NOT_CREATED in str(error)
