"""When each enriched model was built, from what: so that a build which changes nothing is skipped.

Each model has a one-row table `meta.built_{model}` that its own transaction updates (the macro
`note_build`): a build that did not commit is not noted. Whatever is not known leads to a build.
"""

from __future__ import annotations

from collections.abc import Sequence

from lotus_lake.lake.session import LAKE, Lake
from lotus_lake.lake.table_versions import changed_tables, oldest_snapshot, table_ids
from lotus_lake.project.manifest import Model
from lotus_lake.sql import identifier


def built_table(model: str) -> str:
    """Name of a model's table of its build, without its schema."""
    return f"built_{model}"


def why_build(lake: Lake, model: str, inputs: Sequence[str], fingerprint: str | None) -> str | None:
    """Why a model has to be built; `None` if that would change nothing.

    Args:
        lake: Open lake.
        model: Name of the model.
        inputs: Tables of `main` that it reads.
        fingerprint: Of the model as it is now; `None` if it has none.
    """
    if fingerprint is None:
        return f"{model} is built every time: its SQL does not say what it depends on"
    tables = table_ids(lake, "main")
    if model not in tables or built_table(model) not in lake.tables("meta"):
        return f"{model} was not built yet"
    table = identifier(LAKE, "meta", built_table(model))
    query = f"SELECT fingerprint, read_snapshot_id, snapshot_id FROM {table}"
    rows = lake.rows(query)
    if len(rows) != 1 or rows[0][0] != fingerprint:
        return f"the SQL, macros, configuration or tests of {model} are others than in its build"
    _, read, built = rows[0]
    if oldest_snapshot(lake) > read + 1:
        return f"what has changed since {model} was built is not known any more"
    changed = changed_tables(lake, LAKE, read)
    for name in inputs:
        if name not in tables or tables[name] in changed:
            return f"{name} has changed"
    if tables[model] in changed_tables(lake, LAKE, built):
        return f"somebody has changed {model} since it was built"
    return None


def last_build(lake: Lake, model: Model) -> tuple[int, int] | None:
    """The snapshot that the last build of a model has read, and the one that it has made.

    Args:
        lake: Open lake.
        model: A processed or an enriched model.

    Returns:
        `None` if it was not built yet, or is of another layer.
    """
    table, read = {
        "processed": (f"watermark_{model.name}", "snapshot_id_to"),
        "enriched": (built_table(model.name), "read_snapshot_id"),
    }.get(model.layer, ("", ""))
    if table not in lake.tables("meta"):
        return None
    rows = lake.rows(f"SELECT {read}, snapshot_id FROM {identifier(LAKE, 'meta', table)}")
    return (int(rows[0][0]), int(rows[0][1])) if len(rows) == 1 else None


def built_snapshots(lake: Lake, models: Sequence[str]) -> dict[str, int]:
    """The snapshot in which each model was built last; models without one are left out."""
    tables = {built_table(model): model for model in models}
    there = lake.tables("meta")
    found = {}
    for table, model in tables.items():
        if table in there:
            query = f"SELECT max(snapshot_id) FROM {identifier(LAKE, 'meta', table)}"
            found[model] = int(lake.value(query))
    return found
