"""The manifest that an image bakes in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lotus_lake.project.manifest import ensure_manifest

PROJECT = Path(__file__).resolve().parents[3]


def test_a_manifest_outlives_the_rounding_of_times_by_an_images_layers(tmp_path: Path) -> None:
    shutil.copytree(
        PROJECT / "include" / "dbt",
        tmp_path / "include" / "dbt",
        ignore=shutil.ignore_patterns("target", "logs"),
    )
    (tmp_path / "plugins").symlink_to(PROJECT / "plugins")
    files = [path for path in (tmp_path / "include").rglob("*") if path.is_file()]
    assert files
    for path in files:
        os.utime(path, ns=(1_700_000_000_987_654_321,) * 2)
    made = ensure_manifest(tmp_path).stat().st_mtime_ns

    for path in files:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert ensure_manifest(tmp_path).stat().st_mtime_ns == made

    os.utime(files[0], (1_700_000_009, 1_700_000_009))
    assert ensure_manifest(tmp_path).stat().st_mtime_ns > made
