"""Airflow's `hostname_callable`: every part has a machine of its own, as far as Airflow can see."""

from __future__ import annotations

import os


def hostname() -> str:
    """Name of the part that asks."""
    return os.environ.get("PART", "unknown")
