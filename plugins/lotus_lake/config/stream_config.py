"""What a stream JSON may hold: the fields of Airbyte's config, and `feeder`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

JsonType = Literal["string", "boolean", "integer", "number", "object", "array", "null"]
Format = Literal["date", "time", "date-time"] | str
SCHEMA_FILE = "_stream.schema.json"

# A Hive key of the path overrides a same-named column, and even a nested field, of the file.
HIVE_COLUMNS = ("year", "month", "day")
# DuckLake's own columns: a column of the table hides them from those who tell new rows by them.
VIRTUAL_COLUMNS = ("snapshot_id", "rowid")

_FROZEN = ConfigDict(extra="forbid", frozen=True)


class FieldSchema(BaseModel):
    """One field in JSON-schema words, as Airbyte knows them.

    Other words are let pass, because discovered schemas carry many.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: JsonType | tuple[JsonType, ...] | None = Field(
        default=None,
        description="Type of the values, or a list of types; every field may also be null.",
    )
    format: Format | None = Field(
        default=None,
        description="Of a string: date, time and date-time make a column of that type; other "
        "formats stay text.",
    )
    airbyte_type: str | None = Field(
        default=None,
        description="Airbyte's own word for the type, kept as it was discovered; the column "
        "follows type and format.",
    )
    properties: dict[str, FieldSchema] | None = Field(
        default=None, description="Fields of an object; an object without them lands as JSON text."
    )
    items: FieldSchema | None = Field(
        default=None, description="Elements of an array; an array without them lands as JSON text."
    )
    one_of: Annotated[tuple[FieldSchema, ...] | None, Field(alias="oneOf")] = Field(
        default=None, description="Several types: each gets a part of its own in the column."
    )
    description: str | None = Field(default=None, description="For people.")

    @property
    def types(self) -> tuple[str, ...]:
        """The types besides null."""
        names = (self.type,) if isinstance(self.type, str) else self.type or ()
        return tuple(name for name in names if name != "null")


class FeederOptions(BaseModel):
    """How the stream is fed. Everything has a default."""

    model_config = _FROZEN

    schedule: str = Field(
        default="@continuous",
        description="Airflow schedule: @continuous waits for the next files as soon as a run ends; "
        "a cron expression looks at these times.",
        min_length=1,
    )
    poke_interval_seconds: float | None = Field(
        default=None,
        ge=1,
        le=86400,
        description="Pause between two looks at the bucket; by default "
        "LAKE_POKE_INTERVAL_SECONDS, else 60.",
    )
    timeout_seconds: float = Field(
        default=3600,
        ge=0,
        le=7 * 86400,
        description="A run that saw no new file for so long is skipped.",
    )
    deferrable: bool = Field(
        default=True, description="Wait in the triggerer; false waits by rescheduling the task."
    )
    batch_bytes: int = Field(
        default=1024**3,
        ge=1,
        description="A batch (one commit) holds at most so many bytes, or one file.",
    )
    batch_files: int = Field(
        default=300, ge=1, le=1000, description="A batch (one commit) holds at most so many files."
    )
    max_batches: int = Field(
        default=20,
        ge=1,
        le=500,
        description="A run feeds at most so many batches; the next one goes on.",
    )
    lookback_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        description="Files are looked for from so many days before the cursor on, so that late "
        "and out-of-order files are found.",
    )
    retention_days: int = Field(
        default=7,
        ge=1,
        le=36500,
        description="Raw files older than so many days before the cursor are retired once every "
        "processed model has consumed them.",
    )
    on_schema_change: Literal["evolve", "freeze", "fail"] = Field(
        default="evolve",
        description="New column in a file: add it to the landing table (evolve), leave it out and "
        "say so in the ledger (freeze), or quarantine the file (fail). Another type: land a copy "
        "with casts if that changes no value (evolve, freeze), or quarantine the file (fail).",
    )
    on_overwrite: Literal["error", "reload", "ignore"] = Field(
        default="error",
        description="Object replaced in place: quarantine the new version (error), put its rows in "
        "the place of the old ones (reload), or note it and go on (ignore).",
    )
    validation: Literal["full", "footer"] = Field(
        default="full",
        description="Before a file lands, read all its columns once, so that a damaged file is "
        "found before it breaks readers (full), or its footer only (footer).",
    )
    settle_seconds: float = Field(
        default=900,
        ge=0,
        le=7 * 86400,
        description="Only for destination_sync_mode overwrite: a generation is taken for whole "
        "when no file of it has appeared for so long, and those of older ones are gone.",
    )
    wait_for_sync: bool = Field(
        default=False,
        description="Once there are files, wait until Airbyte has no running job for them, so that "
        "only whole syncs land; needs the connection airbyte_default or AIRBYTE_URL. A run that "
        "has waited timeout_seconds is skipped, and the next one waits on.",
    )
    retries: int = Field(default=2, ge=0, le=20, description="Airflow retries of each task.")


class StreamConfig(BaseModel):
    """A stream as Airbyte configures it, plus `feeder`, how it is fed."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Lotus Lake stream")

    json_schema: Annotated[str | None, Field(alias="$schema")] = Field(
        default=None, description="Where editors find this description: ../_stream.schema.json."
    )
    stream: str = Field(description="Name of the stream; the file is named after it.")
    sync_mode: Literal["incremental", "full_refresh"] = Field(
        default="incremental",
        description="What Airbyte reads: what is new since the last sync (incremental), or all of "
        "it each time (full_refresh).",
    )
    destination_sync_mode: Literal["append", "overwrite"] = Field(
        default="append",
        description="append: files are registered without copying them. overwrite: each full "
        "refresh replaces the one before, so that whole generations land by copy; the processed "
        "model is materialized as table.",
    )
    primary_key: tuple[tuple[str, ...], ...] = Field(
        min_length=1,
        description="What tells records apart: a path for each part of the key, such as "
        '[["id"]]; each begins with one of the fields.',
    )
    cursor_field: tuple[str, ...] = Field(
        default=(),
        description="Path of what tells when a record last changed at the source, such as "
        '["updated_at"]; it begins with one of the fields.',
    )
    selected: bool = Field(default=True, description="false: the stream has no Dag.")
    backfill: bool = Field(default=False, description="Ask Airbyte for everything once more.")
    fields: dict[str, FieldSchema] = Field(min_length=1, description="The selected fields.")
    feeder: FeederOptions = Field(
        default=FeederOptions(), description="How the stream is fed; everything has a default."
    )

    @field_validator("fields")
    @classmethod
    def _no_taken_names(cls, fields: dict[str, FieldSchema]) -> dict[str, FieldSchema]:
        for path in _field_paths(fields):
            if path[-1].lower() in HIVE_COLUMNS:
                raise ValueError(
                    f"field {'.'.join(path)!r} has the name of a partition column: its values "
                    "would be replaced by the date in the object's key"
                )
        for name in fields:
            if name.lower() in VIRTUAL_COLUMNS:
                raise ValueError(
                    f"field {name!r} has the name of a column of DuckLake's own: models could no "
                    "longer tell which rows are new"
                )
        return fields

    @model_validator(mode="after")
    def _keys_are_fields(self) -> StreamConfig:
        for name, paths in (
            ("primary_key", self.primary_key),
            ("cursor_field", [self.cursor_field]),
        ):
            for path in paths:
                if path and path[0] not in self.fields:
                    raise ValueError(f"{name} {'.'.join(path)!r} is not among the fields")
        return self


def published_schema() -> dict[str, Any]:
    """JSON Schema of a stream file, for editors and other tools."""
    schema = StreamConfig.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _field_paths(
    fields: dict[str, FieldSchema], above: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    for name, schema in fields.items():
        yield (*above, name)
        inner = schema.items if schema.items else schema
        yield from _field_paths(inner.properties or {}, (*above, name))
