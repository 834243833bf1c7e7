"""Imported by the server that forks dbt: it has parsed the project before any test asks for it.

dbt makes most of its classes' code when it first needs it. A run that is forked from a process
which has parsed the project once takes 0.7 s of processor time, one that starts anew 2 s, and one
that imports dbt as well 5 s.
"""

from __future__ import annotations

import os
import tempfile

from dbt.cli.main import dbtRunner

from tests.pipeline.driver import DBT_DIR


def _parse() -> None:
    with tempfile.TemporaryDirectory(prefix="lotus-dbt-") as folder:
        result = dbtRunner().invoke(
            [
                "--quiet", "--no-write-json", "--no-send-anonymous-usage-stats",
                # Its threads, written in Rust, do not survive a fork: a run that parses would hang.
                "--no-static-parser", "parse",
                "--project-dir", str(DBT_DIR), "--profiles-dir", str(DBT_DIR),
                "--target-path", folder, "--log-path", os.path.join(folder, "logs"),
            ]
        )  # fmt: skip
    if result.exception:
        raise result.exception


_parse()
