"""Broken stream configs, as an import error of their own."""

from __future__ import annotations

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import load_streams
from lotus_lake.errors import StreamConfigError


def check_streams() -> None:
    """Raise what is wrong with stream JSONs.

    Raises:
        StreamConfigError: Names every broken file, with what is wrong in it.
    """
    _, errors = load_streams(Settings.from_env().streams_dir)
    if errors:
        raise StreamConfigError("\n".join(str(error) for error in errors))
