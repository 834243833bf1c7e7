"""Where the checkout is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

LAKE_DIR = ".lake"


def find_project_dir(env: Mapping[str, str]) -> Path:
    """The checkout: `LAKE_PROJECT_DIR`, else where this library lies."""
    # dbt imports this file as include/dbt/../../plugins/...: one catalog, one spelling.
    return Path(os.path.abspath(env.get("LAKE_PROJECT_DIR") or Path(__file__).parents[3]))
