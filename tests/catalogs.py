"""Which catalogs a test runs over: both, unless it is marked `on_sqlite` or `on_postgres`."""

from __future__ import annotations

import pytest

SQLITE = "sqlite"
POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)

on_sqlite = pytest.mark.parametrize("catalog", [SQLITE], indirect=True)
on_postgres = pytest.mark.parametrize("catalog", [POSTGRES], indirect=True)
