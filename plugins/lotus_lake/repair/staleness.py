"""May a version of a model's table take the place of the lake's, and what would it lack?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from lotus_lake.config.streams import Stream
from lotus_lake.lake.session import META, Lake
from lotus_lake.lake.table_copies import SOURCE, tables_of_source
from lotus_lake.lake.table_versions import created_in, read_tables
from lotus_lake.ledger.events import LANDED_SQL, landed_snapshot
from lotus_lake.ledger.model_events import promoted_since
from lotus_lake.ledger.watermarks import watermarks
from lotus_lake.project.manifest import Model
from lotus_lake.repair.table_sources import Source
from lotus_lake.sql import identifier


@dataclass(frozen=True, slots=True)
class Judge:
    """Compares the tables of a source with those of the lake.

    Attributes:
        lake: Open lake, with the source attached.
        source: Where the versions come from.
        models: All models of the project, by name.
        streams: All streams, by id.
    """

    lake: Lake
    source: Source
    models: Mapping[str, Model]
    streams: Mapping[str, Stream]

    def streams_of(self, model: str) -> list[Stream]:
        """The streams that a processed model reads; none of an enriched one."""
        return [self.streams[tag] for tag in self.models[model].tags if tag in self.streams]

    def mark(self, model: str) -> int:
        """The snapshot of the lake up to which the version has read what landed."""
        name = f"watermark_{model}"
        if name not in tables_of_source(self.lake, "meta"):
            return -1
        table = identifier(SOURCE, "meta", name)
        found = self.lake.value(f"SELECT max(snapshot_id_to) FROM {table}")
        # What the branch calls later snapshots are others in the lake.
        return -1 if found is None else min(int(found), self.source.shared)

    def obstacles(self, model: str, chosen: Collection[str]) -> Iterator[str]:
        """Why the version can never be what the lake needs.

        Args:
            model: Name of the model.
            chosen: All models whose tables are put in place together.
        """
        if model not in self.models:
            yield f"{model} is no model of this project"
            return
        if model not in self.source.tables:
            yield f"{model} has no table there"
            return
        if model in self.lake.views("main"):
            yield f"{model} is a view in the lake"
        landing = tables_of_source(self.lake, "staging")
        for stream in self.streams_of(model):
            if landing.get(stream.landing_table) in self.source.changed:
                yield f"{model} may hold rows of {stream.id} that were fed on the branch"
            if lost := self._lost_files(model, stream):
                yield (
                    f"{lost} files of {stream.id} that the version has not read have left the "
                    f"landing table since: only the lake's {model} has their rows"
                )
        for parent in self.models[model].parents:
            if self.source.is_changed(parent) and parent not in chosen:
                yield f"{model} was built from {parent} of the branch, which has to come along"

    def newer_inputs(self, model: str, chosen: Collection[str]) -> Iterator[str]:
        """What the lake's table has that the version has not: its inputs have moved on."""
        if self.source.branch is None:
            return
        shared = self.source.shared
        if model in promoted_since(self.lake, shared):
            yield f"another version of {model}"
        for stream in self.streams_of(model):
            if self._has_read_more(model, stream):
                yield f"stream {stream.id}"
        changed = {n: t.snapshot_id for n, t in read_tables(self.lake, "main").items()}
        created = created_in(self.lake, "main")
        for parent in self.models[model].parents:
            if parent in chosen:
                continue
            streams = self.streams_of(parent)
            if (
                created.get(parent, -1) > shared
                or (not streams and changed.get(parent, -1) > shared)
                or any(self._has_read_more(parent, stream) for stream in streams)
            ):
                yield parent

    def readers(self, chosen: Collection[str]) -> list[str]:
        """Models that read one of these, are not among them, and have a table in the lake."""
        tables = self.lake.tables("main")
        return sorted(
            name
            for name, model in self.models.items()
            if name in tables and name not in chosen and set(model.parents) & set(chosen)
        )

    def _has_read_more(self, model: str, stream: Stream) -> bool:
        """Whether the lake's table has read landed rows that the version has not."""
        mark = watermarks(self.lake, [model])[model]
        return min(mark, landed_snapshot(self.lake, stream)) > self.mark(model)

    def _lost_files(self, model: str, stream: Stream) -> int:
        """Files that landed after what the version has read, and whose rows nobody reads again."""
        if stream.overwrites:  # a generation is built from what the landing table has
            return 0
        return int(
            self.lake.value(
                f"""
                SELECT count(*) FROM {META}.feeder_files
                WHERE source = ? AND stream = ? AND event NOT IN {LANDED_SQL}
                AND (key, etag, size_bytes) IN (
                    SELECT (key, etag, size_bytes) FROM {META}.file_events
                    WHERE source = ? AND stream = ? AND event IN {LANDED_SQL} AND snapshot_id > ?
                )
                """,
                [stream.source, stream.name, stream.source, stream.name, self.mark(model)],
            )
        )
