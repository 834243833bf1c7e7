"""DuckDB's extensions: from the installed wheels, or else from DuckDB's own repository."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import duckdb

from lotus_lake.errors import SettingsError
from lotus_lake.sql import literal


def load_extensions(con: duckdb.DuckDBPyConnection, catalog_kind: str) -> None:
    """Load what the lake needs, from the installed wheels, or else from DuckDB's own repository.

    Raises:
        SettingsError: An extension is in neither place.
    """
    for name in ("httpfs", f"{catalog_kind}_scanner", "ducklake"):
        load_extension(con, name)


def load_extension(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension, from its installed wheel, or else from DuckDB's own repository.

    Raises:
        SettingsError: It is in neither place.
    """
    wheel = _extension_wheel(name)
    try:
        if wheel is None:
            con.execute(f"INSTALL {name}")
            con.execute(f"LOAD {name}")
        else:
            con.execute(f"LOAD {literal(str(wheel))}")
    except duckdb.Error as error:
        raise SettingsError(
            f"DuckDB {duckdb.__version__} could not load its extension {name}: {error}",
            hint=f"pip install duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}",
        ) from error


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
