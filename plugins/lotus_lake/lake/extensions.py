"""DuckDB's extensions: from the installed wheels, or else from DuckDB's own repository.

DuckDB checks the signature of an extension for each connection that loads it, which is most of what
it costs to open a lake: 0.1 to 0.2 s of CPU for each of three. Here it checks a file once for this
process and those that it forks; the connections of lakes take the file that was checked, as long as
it is the same.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import duckdb

from lotus_lake.errors import SettingsError
from lotus_lake.sql import literal


class _File(NamedTuple):
    """An extension as it lay on the disk when DuckDB checked its signature."""

    path: Path
    version: tuple[int, ...]

    def is_there(self) -> bool:
        """Whether it is still the same file."""
        return self.path.exists() and _version(self.path) == self.version


_checked: dict[str, _File] = {}


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory, for `load_extension`: by itself it checks no signature."""
    return duckdb.connect(":memory:", config={"allow_unsigned_extensions": True})


def load_extensions(con: duckdb.DuckDBPyConnection, catalog_kind: str) -> None:
    """Load what the lake needs, from the installed wheels, or else from DuckDB's own repository.

    Raises:
        SettingsError: An extension is in neither place, or its signature is wrong.
    """
    for name in ("httpfs", f"{catalog_kind}_scanner", "ducklake"):
        load_extension(con, name)


def load_extension(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension, from its installed wheel, or else from DuckDB's own repository.

    Raises:
        SettingsError: It is in neither place, or its signature is wrong.
    """
    try:
        if con.execute("SELECT current_setting('allow_unsigned_extensions')").fetchone() == (True,):
            con.execute(f"LOAD {literal(str(_checked_file(name)))}")
        else:
            _load_signed(con, name)
    except duckdb.Error as error:
        raise SettingsError(
            f"DuckDB {duckdb.__version__} could not load its extension {name}: {error}",
            hint=f"pip install duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}",
        ) from error


def _checked_file(name: str) -> Path:
    """The file of an extension whose signature DuckDB has checked."""
    known, wheel = _checked.get(name), _extension_wheel(name)
    if known is None or known.path != (wheel or known.path) or not known.is_there():
        before = wheel and _version(wheel)
        with duckdb.connect() as con:
            path = _load_signed(con, name)
        known = _checked[name] = _File(path, before or _version(path))
    return known.path


def _load_signed(con: duckdb.DuckDBPyConnection, name: str) -> Path:
    """Load an extension by a connection that checks its signature; returns its file."""
    if wheel := _extension_wheel(name):
        con.execute(f"LOAD {literal(str(wheel))}")
        return wheel
    con.execute(f"INSTALL {name}")
    con.execute(f"LOAD {name}")
    ((path,),) = con.execute(
        "SELECT install_path FROM duckdb_extensions() WHERE extension_name = ?", [name]
    ).fetchall()
    return Path(path)


def _version(file: Path) -> tuple[int, ...]:
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _extension_wheel(name: str) -> Path | None:
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}"
    file = folder / f"{name}.duckdb_extension"
    return file if file.exists() else None


def ducklake_version() -> tuple[str, str]:
    """Version of the DuckLake extension, and the format of the catalogs that it makes.

    Raises:
        SettingsError: An extension of DuckDB is missing.
    """
    with duckdb.connect() as con:
        load_extensions(con, "sqlite")
        # A lake in memory, of which no file is written.
        con.execute("ATTACH 'ducklake::memory:' AS lake (DATA_PATH '/nowhere')")
        ((version, catalog_format),) = con.execute(
            """
            SELECT extension_version, value
            FROM duckdb_extensions(), __ducklake_metadata_lake.ducklake_metadata
            WHERE extension_name = 'ducklake' AND key = 'version'
            """
        ).fetchall()
        con.execute("DETACH lake")
    return version, catalog_format
