"""What a change of a project breaks: columns of models that are made from a changed stream.

Compares the stream configs and models of two checkouts, without a lake. Which columns are made from
which is read off the SQL of the models as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from pathlib import Path

import duckdb
from duckdb.sqltypes import DuckDBPyType

from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import load_streams, source_schema
from lotus_lake.landing.tables import landing_columns
from lotus_lake.landing.types import keeps_values
from lotus_lake.project.lineage import ModelLineage, UnresolvedLineageError
from lotus_lake.project.manifest import load_models, manifest_file
from lotus_lake.project.rendering import UnrenderedModelError, render_model

Columns = dict[str, dict[str, DuckDBPyType]]
# Columns of landing tables that a column of a model is made from, by model and column.
_Made = dict[str, dict[str, set[tuple[str, str]]]]


@dataclass(frozen=True, slots=True)
class Breakage:
    """A column of a landing table, or a model, that is not what it was.

    Attributes:
        name: The column, such as `stg_shopify__orders.total_tax`, or the model.
        change: What happens to it.
        breaks: Columns of models that are made from it, such as `fct_sales.taxes`, and models
            whose SQL does not show whether they are.
    """

    name: str
    change: str
    breaks: tuple[str, ...] = ()


def find_breakages(before: Path, after: Settings) -> list[Breakage]:
    """What a project breaks of what was there before.

    Args:
        before: A checkout of the project as it was, with dbt's manifest.
        after: Settings of the project as it is, with dbt's manifest.

    Raises:
        StreamConfigError: A source schema is wrong.
    """
    models = load_models(manifest_file(before))
    kept = load_models(manifest_file(after.project_dir))
    old = _landing(_settings_of(before, after))
    changes = _changes(old, _landing(after))
    made, unknown = _made_from(before, {table: list(names) for table, names in old.items()})
    found = [
        Breakage(
            f"{table}.{column}",
            change,
            (*_columns_from(made, (table, column)), *(f"{name} (unknown)" for name in unknown)),
        )
        for (table, column), change in changes.items()
    ]
    return [*found, *(Breakage(name, "model removed") for name in models if name not in kept)]


def _settings_of(checkout: Path, settings: Settings) -> Settings:
    """Those of another checkout, which has its files where this one has them."""

    def there(path: Path) -> Path:
        inside = path.is_relative_to(settings.project_dir)
        return checkout / path.relative_to(settings.project_dir) if inside else path

    return replace(
        settings,
        project_dir=checkout,
        streams_dir=there(settings.streams_dir),
        sources_dir=there(settings.sources_dir),
    )


def _landing(settings: Settings) -> Columns:
    """Columns of each landing table, with their types."""
    streams, _ = load_streams(settings.streams_dir)
    found: Columns = {}
    with duckdb.connect() as con:
        for stream in streams:
            columns = landing_columns(stream, source_schema(settings.sources_dir, stream))
            found[stream.landing_table] = {name: con.type(kind) for name, kind in columns.items()}
    return found


def _changes(old: Columns, new: Columns) -> dict[tuple[str, str], str]:
    changes = {}
    for table, columns in old.items():
        for name, kind in columns.items():
            now = new.get(table, {}).get(name)
            if now is None:
                changes[table, name] = "removed"
            elif not keeps_values(kind, now):
                changes[table, name] = f"{now}, was {kind}"
    return changes


def _made_from(checkout: Path, landing: Mapping[str, list[str]]) -> tuple[_Made, list[str]]:
    """What the columns of all models are made from; and the models that do not show it."""
    manifest = manifest_file(checkout)
    models = load_models(manifest)
    order = TopologicalSorter({name: model.parents for name, model in models.items()})
    made: _Made = {}
    unknown: list[str] = []
    for name in order.static_order():
        tables = {"main": {m: list(columns) for m, columns in made.items()}, "staging": landing}
        try:
            lineage = ModelLineage(name, render_model(manifest, name), tables)
            made[name] = {
                column: {
                    source
                    for origin in lineage.origins(column)
                    for source in made.get(origin.table, {}).get(
                        origin.path[0], {(origin.table, origin.path[0])}
                    )
                }
                for column in lineage.columns
            }
        except (UnrenderedModelError, UnresolvedLineageError):
            unknown.append(name)
    return made, unknown


def _columns_from(made: _Made, column: tuple[str, str]) -> list[str]:
    return [
        f"{model}.{name}"
        for model, columns in made.items()
        for name, sources in columns.items()
        if column in sources
    ]
