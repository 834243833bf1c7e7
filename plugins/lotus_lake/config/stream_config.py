"""The fields of a stream config, with defaults: those of Airbyte's config, and `feeder`."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Annotated, Any, Literal

from croniter import CroniterError, croniter  # type: ignore[import-untyped]
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lotus_lake.config.path_format import path_format_problem
from lotus_lake.errors import did_you_mean
from lotus_lake.sql import folded

# Titles in lower case are what errors and the reference page call such a string.
FieldName = Annotated[str, Field(title="field name")]
JsonType = Literal["string", "boolean", "integer", "number", "object", "array", "null"]
Format = Literal["date", "time", "date-time"] | str
SCHEMA_FILE = "_stream.schema.json"

# A Hive key of the path overrides a same-named column, and even a nested field, of the file.
HIVE_COLUMNS = ("year", "month", "day")
# The words that Airflow takes in place of a cron expression and croniter does not.
_SCHEDULE_WORDS = ("@continuous", "@once", "@quarterly")
# DuckLake's own columns, those of `landed_rows`, and that of rescued values: a column of the table
# would hide them from those who tell rows apart by them; with some of them DuckLake creates no
# table at all.
VIRTUAL_COLUMNS = (
    "snapshot_id", "rowid", "filename", "_lake_snapshot_id", "_lake_row_id", "row_id",
    "begin_snapshot", "end_snapshot", "_ducklake_internal_row_id", "_ducklake_internal_snapshot_id",
    "_lake_rescued",
)  # fmt: skip

# Where Airbyte's sources that read a change log say that, and when, a record was deleted.
DELETED_AT = "_ab_cdc_deleted_at"
# Where they say when it was changed, and where in the log: MySQL; SQL Server; Postgres.
CHANGED_AT = "_ab_cdc_updated_at"
LOG_FIELDS = (
    ("_ab_cdc_log_file", "_ab_cdc_log_pos"),
    ("_ab_cdc_lsn", "_ab_cdc_event_serial_no"),
    ("_ab_cdc_lsn",),
)

_FROZEN = ConfigDict(extra="forbid", frozen=True)


class FieldSchema(BaseModel):
    """A field as a JSON Schema describes it, with the keywords that Airbyte knows.

    Other keywords are ignored: discovered schemas carry many.
    """

    model_config = ConfigDict(
        extra="ignore", frozen=True, json_schema_extra={"examples": [{"type": "string"}]}
    )

    type: JsonType | tuple[JsonType, ...] | None = Field(
        default=None,
        description="Type of the values, or a list of types. Every field may also be null.",
    )
    format: Format | None = Field(
        default=None,
        description="Format of a string: date, time and date-time become columns of that type; "
        "other formats stay text.",
    )
    airbyte_type: str | None = Field(
        default=None,
        description="Airbyte's own name for the type, kept as discovered. The column's type "
        "follows from type and format.",
    )
    properties: dict[str, FieldSchema] | None = Field(
        default=None, description="Fields of an object. Without them, an object lands as JSON text."
    )
    items: FieldSchema | None = Field(
        default=None, description="Elements of an array. Without them, an array lands as JSON text."
    )
    one_of: Annotated[tuple[FieldSchema, ...] | None, Field(alias="oneOf")] = Field(
        default=None,
        description="Alternative types. The column becomes a struct with one member per type.",
    )
    description: str | None = Field(default=None, description="A note for readers.")
    column: str | None = Field(
        default=None,
        min_length=1,
        description="Name of the column in the landing table, where it is not the one that Airbyte "
        "writes: files of other writers have names with blanks or dots, and a field named as a "
        "partition column (year, month, day) or as a column of DuckLake lands under another name, "
        "by default `source_` and its own.",
    )

    @property
    def types(self) -> tuple[str, ...]:
        """The types besides null."""
        names = (self.type,) if isinstance(self.type, str) else self.type or ()
        return tuple(name for name in names if name != "null")


class Freshness(BaseModel):
    """How old the newest rows of a stream may be."""

    model_config = _FROZEN

    warn_after_seconds: float | None = Field(
        default=None,
        ge=1,
        le=366 * 86400,
        description="The stream is late, as a warning, once nothing has landed for this long.",
    )
    error_after_seconds: float | None = Field(
        default=None,
        ge=1,
        le=366 * 86400,
        description="The stream is late, as an error, once nothing has landed for this long.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Freshness:
        warn, error = self.warn_after_seconds, self.error_after_seconds
        if warn is None and error is None:
            raise _broken("needs warn_after_seconds or error_after_seconds", "feeder", "freshness")
        if warn is not None and error is not None and warn > error:
            raise _broken(
                "warn_after_seconds is greater than error_after_seconds",
                "feeder", "freshness",
            )  # fmt: skip
        return self


class FeederOptions(BaseModel):
    """Options of the feeder for one stream."""

    model_config = _FROZEN

    schedule: str = Field(
        default="@continuous",
        description="Airflow schedule. @continuous waits for the next files as soon as a run ends; "
        "with a cron expression, runs start at those times.",
        min_length=1,
    )
    poke_interval_seconds: float | None = Field(
        default=None,
        ge=1,
        le=86400,
        description="Seconds between two listings of the bucket. The default is "
        "LAKE_POKE_INTERVAL_SECONDS, or 60. With LAKE_EVENTS_QUEUE it counts while the queue does "
        "not answer.",
    )
    timeout_seconds: float = Field(
        default=3600,
        ge=0,
        le=7 * 86400,
        description="A run that finds no new file within this many seconds is skipped. With "
        "LAKE_EVENTS_QUEUE the default is 21600.",
    )
    deferrable: bool = Field(
        default=True, description="true waits in the triggerer; false reschedules the task."
    )
    batch_bytes: int = Field(
        default=1024**3,
        ge=1,
        description="Maximum bytes per batch (one commit). A larger file gets a batch of its own.",
    )
    batch_files: int = Field(
        default=300, ge=1, le=1000, description="Maximum files per batch (one commit)."
    )
    max_batches: int = Field(
        default=20,
        ge=1,
        le=500,
        description="Maximum batches per run. The next run feeds the rest.",
    )
    lookback_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        description="A run lists files from this many days before the cursor, so that late and "
        "out-of-order files are found.",
    )
    retention_days: int = Field(
        default=7,
        ge=1,
        le=36500,
        description="Raw files from more than this many days before the cursor are retired once "
        "every processed model has consumed them.",
    )
    on_schema_change: Literal["evolve", "freeze", "ask", "fail"] = Field(
        default="evolve",
        description="What to do with a new column in a file: add it to the landing table (evolve), "
        "leave it out and note that in the ledger (freeze), quarantine the file until a person "
        "accepts the change (ask), or quarantine it (fail). A column that has to become wider is "
        "changed (evolve, freeze, fail) or asked about (ask). A column of another type quarantines "
        "the file, too (fail), or is a matter of on_type_change (evolve, freeze, ask).",
    )
    on_type_change: Literal["rescue", "quarantine"] = Field(
        default="rescue",
        description="What to do with values that do not fit the type of their column, or whose "
        "name another field of the file has: land all rows of the file, with these values NULL in "
        "their column and kept as JSON in _lake_rescued (rescue), or quarantine the file "
        "(quarantine). Either way, values that fit without loss land in their column.",
    )
    on_overwrite: Literal["error", "reload", "ignore"] = Field(
        default="error",
        description="What to do when an object is replaced in place: quarantine the new version "
        "(error), replace the old rows with its rows (reload), or record it and continue (ignore).",
    )
    validation: Literal["full", "footer"] = Field(
        default="full",
        description="What to read of a file before it lands: all its columns once, so that a "
        "damaged file is found before it breaks readers (full), or its footer only (footer).",
    )
    settle_seconds: float = Field(
        default=900,
        ge=0,
        le=7 * 86400,
        description="Only for destination_sync_mode overwrite. A generation counts as complete "
        "when none of its files has appeared for this many seconds and the files of older "
        "generations are gone.",
    )
    wait_for_sync: bool = Field(
        default=False,
        description="true waits, once there are files, until Airbyte has no running job for them, "
        "so that only complete syncs land. It needs the connection airbyte_default or AIRBYTE_URL. "
        "A run that has waited timeout_seconds is skipped, and the next run continues to wait.",
    )
    path_format: str | None = Field(
        default=None,
        min_length=1,
        description="Path format of the keys, as in Airbyte's S3 destination, followed by its file "
        "name pattern if one is set. The default is LAKE_PATH_FORMAT.",
        examples=["${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_"],
    )
    retries: int = Field(default=2, ge=0, le=20, description="Airflow retries per task.")
    freshness: Freshness | None = Field(
        default=None,
        description="How long nothing may land before the Lake page and `lotus-lake status` call "
        "the stream late. Without it, the stream is never late.",
        examples=[{"warn_after_seconds": 7200, "error_after_seconds": 86400}],
    )

    @field_validator("path_format")
    @classmethod
    def _tells_streams_apart(cls, text: str | None) -> str | None:
        if text is not None and (problem := path_format_problem(text)):
            raise _broken(problem, "feeder", "path_format")
        return text

    @field_validator("schedule")
    @classmethod
    def _airflow_takes_it(cls, schedule: str) -> str:
        """Airflow works out the times before and after now, with croniter."""
        try:
            if schedule not in _SCHEDULE_WORDS:
                croniter(schedule).get_prev()
                croniter(schedule).get_next()
        except CroniterError as error:
            raise _broken(
                f"is not a schedule of Airflow ({error}); use @continuous, a preset such as "
                '@hourly, or a cron expression such as "0 5 * * *"',
                "feeder", "schedule",
            ) from None  # fmt: skip
        return schedule


class StreamConfig(BaseModel):
    """A stream as Airbyte configures it, plus `feeder`: how it is fed."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Lotus Lake stream")

    json_schema: Annotated[str | None, Field(alias="$schema")] = Field(
        default=None, description="Where editors find this schema: ../_stream.schema.json."
    )
    stream: str = Field(description="Name of the stream, which is also the name of the file.")
    namespace: str | None = Field(
        default=None,
        description="What Airbyte writes for ${NAMESPACE} in the keys, such as the schema of a "
        "database; empty if there is none. The default is the name of the source.",
    )
    stream_name: str | None = Field(
        default=None,
        min_length=1,
        description="What Airbyte calls the stream, with the prefix of the connection if it has "
        "one. The default is the name of the file.",
        examples=["Order Refunds"],
    )
    sync_mode: Literal["incremental", "full_refresh"] = Field(
        default="incremental",
        description="What Airbyte reads in a sync: what is new since the last one (incremental), "
        "or everything (full_refresh).",
    )
    destination_sync_mode: Literal["append", "overwrite"] = Field(
        default="append",
        description="append: files are registered without a copy. overwrite: each full refresh "
        "replaces the one before, so complete generations land as copies, and the processed model "
        "is materialized as a table.",
    )
    primary_key: tuple[tuple[FieldName, ...], ...] = Field(
        description='What identifies a record: one path per part of the key, such as [["id"]]. '
        "Each path begins with one of the fields. [] is a stream whose records nothing identifies: "
        "the processed model keeps every row that landed.",
        examples=[[["id"]]],
    )
    cursor_field: tuple[FieldName, ...] = Field(
        default=(),
        description="Path of the field that says when a record last changed at the source, such "
        'as ["updated_at"]. It begins with one of the fields.',
        examples=[["updated_at"]],
    )
    deletes: Literal["hard", "soft", "ignore"] = Field(
        default="hard",
        description=f"Only for a stream with the field {DELETED_AT}: what a delete at the source "
        "does to the processed model. hard: the record is not in the table. soft: its row stays, "
        "with what the delete says of it, and with the time in _deleted_at. ignore: the version "
        "before the delete stays.",
    )
    log_fields: tuple[FieldName, ...] | None = Field(
        default=None,
        description="Fields that say where a version stands in the log of its source, the most "
        "significant one first: versions follow the log, whenever they were extracted. By default "
        f"{'; or '.join(', '.join(names) for names in LOG_FIELDS)}, as far as the stream has them. "
        "[] orders versions by when they were extracted.",
        examples=[["_ab_cdc_lsn"]],
    )
    log_restarts: tuple[AwareDatetime, ...] = Field(
        default=(),
        description="Only for a stream that follows a log: times at which that log began anew, "
        "with lower positions, while Airbyte's generation stayed the same or began at 0 again: a "
        "new server, a recreated connection. What was extracted from then on is newer than what "
        "was extracted before.",
        examples=[["2026-03-05T10:00:00Z"]],
    )
    history: bool = Field(
        default=False,
        description="true adds the model hist_{source}__{stream}, which has every version of each "
        "record, with the times between which it was valid.",
    )
    selected: bool = Field(default=True, description="false leaves the stream without a Dag.")
    backfill: bool = Field(
        default=False, description="true asks Airbyte to send everything again, once."
    )
    fields: dict[str, FieldSchema] = Field(
        min_length=1, description="The fields to feed.", examples=[{"id": {"type": "integer"}}]
    )
    feeder: FeederOptions = Field(
        default=FeederOptions(), description="How the stream is fed. Every option has a default."
    )

    @property
    def tells_deletes(self) -> bool:
        """Whether the stream has rows that report deletes."""
        return DELETED_AT in self.fields

    @property
    def log(self) -> tuple[str, ...]:
        """The fields by which versions follow the log of the source; empty if they do not."""
        if not self.primary_key:
            return ()
        return log_fields(self.fields) if self.log_fields is None else self.log_fields

    @field_validator("fields")
    @classmethod
    def _names_are_usable(cls, fields: dict[str, FieldSchema]) -> dict[str, FieldSchema]:
        for path, schema in _field_paths(fields):
            name = schema.column or path[-1]
            if not path[-1] or "\0" in name:
                raise _broken(f"field {'.'.join(path)!r} has no usable name", "fields", path[0])
            taken = (*HIVE_COLUMNS, *VIRTUAL_COLUMNS) if len(path) == 1 else HIVE_COLUMNS
            if folded(schema.column or "") in taken:
                raise _broken(
                    f"field {'.'.join(path)!r} cannot land as column {schema.column!r}: every "
                    "landing table has one of its own",
                    "fields", path[0],
                )  # fmt: skip
        return fields

    @model_validator(mode="after")
    def _keys_are_fields(self) -> StreamConfig:
        for name, paths in (
            ("primary_key", self.primary_key),
            ("cursor_field", [self.cursor_field]),
            ("log_fields", [(name,) for name in self.log_fields or ()]),
        ):
            for path in paths:
                if path and path[0] not in self.fields:
                    known = did_you_mean(path[0], self.fields)
                    raise _broken(f"{'.'.join(path)!r} is not one of the fields; {known}", name)
        if "deletes" in self.model_fields_set and not self.tells_deletes:
            raise _broken(f"needs the field {DELETED_AT}, which reports deletes", "deletes")
        if self.tells_deletes and self.deletes == "hard" and not self.primary_key:
            raise _broken(
                'with "deletes": "hard", which is the default, there has to be one: else nothing '
                'says which row a delete is of; "soft" keeps every row, "ignore" leaves deletes '
                "out",
                "primary_key",
            )
        if self.history and not self.primary_key:
            raise _broken(
                "needs a primary_key: without one, no row is a version of another", "history"
            )
        if self.history and self.destination_sync_mode == "overwrite":
            raise _broken(
                "needs destination_sync_mode append: a generation that replaces the one before "
                "does not say when a record was deleted",
                "history",
            )
        if self.log_restarts and not self.log:
            raise _broken("needs fields that say where a version stands in a log", "log_restarts")
        return self


def log_fields(fields: Container[str]) -> tuple[str, ...]:
    """Those of a stream's fields that say where a version stands in the log of its source."""
    return next((names for names in LOG_FIELDS if all(name in fields for name in names)), ())


def published_schema() -> dict[str, Any]:
    """JSON Schema of a stream file, for editors and other tools."""
    schema = StreamConfig.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _field_paths(
    fields: dict[str, FieldSchema], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldSchema]]:
    for name, schema in fields.items():
        yield (*above, name), schema
        inner = schema.items if schema.items else schema
        yield from _field_paths(inner.properties or {}, (*above, name))


def _broken(text: str, *path: str) -> PydanticCustomError:
    """An error of a rule that no JSON Schema has, at a path of the document."""
    return PydanticCustomError("rule", "{text}", {"text": text, "path": path})
