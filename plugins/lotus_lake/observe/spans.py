"""The spans of time that activity is shown for. No DuckDB: the api-server imports it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

# Length of a span, and of its parts.
SPANS: Mapping[str, tuple[timedelta, timedelta]] = {
    "day": (timedelta(days=1), timedelta(hours=1)),
    "week": (timedelta(days=7), timedelta(hours=6)),
    "month": (timedelta(days=30), timedelta(days=1)),
}
