"""The same initial load with 10 GB of raw files.

It is not part of `make bench`, which it would make a quarter of an hour longer: `make bench
ARGS=volume` runs it, and needs 35 GB of disk.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import throughput
from benchmarks.results import Report

TITLE = "Throughput at volume"


def run(report: Report, folder: Path, *, quick: bool) -> None:
    """Measure; see the module's text."""
    throughput.load(report, folder, scale=0.01 if quick else 22)
