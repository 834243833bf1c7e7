"""Checks of the machine and the project's files: memory, disks, stream configs, dbt manifest."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from lotus_lake.config.settings import Settings
from lotus_lake.doctor.findings import Result, ok, problem, skipped
from lotus_lake.project.manifest import dbt_project_dir, manifest_problem
from lotus_lake.quantities import counted, readable_bytes
from lotus_lake.validation import check, read_project

FREE_BYTES = 1_000_000_000
_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"([\d.]+)\s*([KMGT])(I?)B", re.IGNORECASE)
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
# A SQLite file on one of these is locked on one machine only, and its shared memory is not shared.
_NETWORK_FILE_SYSTEMS = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs",
    "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "lustre", "beegfs", "afs",
}  # fmt: skip


def memory_limit_fits_the_machine(settings: Settings) -> Result:
    """`LAKE_MEMORY_LIMIT` is not more than the machine has."""
    limit, there = size_in_bytes(settings.memory_limit), _physical_bytes()
    if limit > there:
        return problem(
            f"LAKE_MEMORY_LIMIT={settings.memory_limit}, but the machine has "
            f"{readable_bytes(there)}: the kernel would kill a task before DuckDB spills",
            hint=f"LAKE_MEMORY_LIMIT={there // 2 // 1_000_000}MB, or less if tasks run together",
        )
    return ok(f"{settings.memory_limit} of {readable_bytes(there)} a task")


def temp_dir_has_room(settings: Settings) -> Result:
    """DuckDB can spill as much as it may hold in memory."""
    return _room("LAKE_TEMP_DIR", settings.temp_dir, size_in_bytes(settings.memory_limit))


def data_path_has_room(settings: Settings) -> Result:
    """The disk of the lake's own files is not full."""
    if settings.data_path.startswith("s3://"):
        return skipped(f"{settings.data_path} is not a local disk")
    return _room("LAKE_DATA_PATH", Path(settings.data_path), FREE_BYTES)


def sqlite_catalog_is_on_a_local_disk(settings: Settings) -> Result:
    """A SQLite catalog does not lie on a network file system."""
    if settings.catalog.kind != "sqlite":
        return skipped("the catalog is in Postgres")
    kind = file_system_of(Path(settings.catalog.address), Path("/proc/mounts").read_text())
    if kind in _NETWORK_FILE_SYSTEMS:
        return problem(
            f"{settings.catalog.address} lies on {kind}: its locks do not work between machines, "
            "and the catalog will break",
            hint="move it to a local disk, or use LAKE_CATALOG=postgres:host=... dbname=...",
        )
    return ok(f"{settings.catalog.address} lies on {kind}")


def project_files_fit_together(settings: Settings) -> Result:
    """Stream JSONs, landing DDL, dbt sources and models are what `lotus-lake validate` wants."""
    project = read_project(settings)
    if problems := [found for found in check(project) if not found.is_advice]:
        first = problems[0]
        return problem(
            f"{counted(len(problems), 'problem')}, such as {project.short(first.file)}: "
            f"{first.message}",
            hint=f"{first.hint}; `lotus-lake validate` lists them all".removeprefix("; "),
        )
    if not project.selected:
        return problem(
            f"{settings.streams_dir} has no selected stream",
            hint="LAKE_STREAMS_DIR is the folder of {source}/{stream}.json",
        )
    return ok(counted(len(project.selected), "stream"))


def dbt_manifest_is_current(settings: Settings) -> Result:
    """The Dags see the dbt models as they are."""
    if text := manifest_problem(settings.project_dir):
        return problem(
            text,
            hint=f"run `dbt parse` in {dbt_project_dir(settings.project_dir)} as its owner, or "
            "bake the manifest into the image",
        )
    return ok("current, or made when the Dags are parsed")


def size_in_bytes(text: str) -> int:
    """Bytes of a size as DuckDB reads it, such as `2GiB` or `500MB`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _UNITS[match[2].upper()])


def file_system_of(path: Path, mounts: str) -> str:
    """Kind of the file system that a path lies on, by the text of `/proc/mounts`."""
    found = ("", "unknown")
    for line in mounts.splitlines():
        _, folder, kind, *_ = line.split(" ")
        folder = folder.replace("\\040", " ")
        if path.is_relative_to(folder) and len(folder) >= len(found[0]):
            found = (folder, kind)
    return found[1]


def _room(variable: str, folder: Path, wanted_bytes: int) -> Result:
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        return problem(f"{there} cannot be written to", hint=f"set {variable} to a writable folder")
    if free < wanted_bytes:
        return problem(
            f"{folder} has {readable_bytes(free)} free and needs {readable_bytes(wanted_bytes)}",
            hint=f"free space, or set {variable} to a folder on a larger disk",
        )
    return ok(f"{readable_bytes(free)} free in {folder}")


def _physical_bytes() -> int:
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if _CGROUP_LIMIT.exists() and (text := _CGROUP_LIMIT.read_text().strip()).isdecimal():
        return min(physical, int(text))
    return physical


CHECKS = (
    memory_limit_fits_the_machine,
    temp_dir_has_room,
    data_path_has_room,
    sqlite_catalog_is_on_a_local_disk,
    project_files_fit_together,
    dbt_manifest_is_current,
)
