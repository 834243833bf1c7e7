"""The files of a new stream: what is written, what is left alone, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from lotus_lake.config.settings import Settings
from lotus_lake.errors import ScaffoldError, StreamConfigError
from lotus_lake.project.source_schemas import write_source_schemas
from lotus_lake.scaffold.sample import read_sample
from lotus_lake.scaffold.stream_files import StreamFiles, plan_files, write_files
from lotus_lake.scaffold.stream_json import Choices
from lotus_lake.sql import identifier
from lotus_lake.validation import find_problems
from tests.projects import copy_project

FIELDS: dict[str, Any] = {
    "id": {"type": "integer"},
    "title": {"type": ["null", "string"], "description": "What it is called."},
    "price": {"type": "number"},
    "updated": {"type": "string", "format": "date-time"},
}
PRODUCTS: dict[str, Any] = {
    "name": "products",
    "json_schema": {"properties": FIELDS},
    "supported_sync_modes": ["full_refresh", "incremental"],
    "default_cursor_field": ["updated"],
    "source_defined_primary_key": [["id"]],
}
FILES = [
    "include/streams/shop/products.json",
    "include/landing/shop/stg_shop__products.sql",
    "include/dbt/models/processed/shop/_shop__products__source.yml",
    "include/dbt/models/processed/shop/int_shop__products.sql",
    "include/dbt/models/processed/shop/int_shop__products.yml",
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A copy of this project."""
    return copy_project(tmp_path)


def discover(settings: Settings, **changes: Any) -> None:
    write_source_schemas(settings, "shop", {"streams": [{**PRODUCTS, **changes}]})


def plan(settings: Settings, sample: Path | None = None, **choices: Any) -> StreamFiles:
    return plan_files(settings, "shop", "products", Choices(**choices), sample)


def config(settings: Settings) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((settings.project_dir / FILES[0]).read_text("utf-8"))
    return document


def snapshot(settings: Settings) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in settings.project_dir.rglob("*") if p.is_file()}


# What is written


def test_a_discovered_stream_gets_all_its_files(settings: Settings) -> None:
    discover(settings)
    written = write_files(plan(settings))
    assert [str(f.path.relative_to(settings.project_dir)) for f in written] == FILES
    assert config(settings) == {
        "$schema": "../_stream.schema.json",
        "stream": "products",
        "sync_mode": "incremental",
        "destination_sync_mode": "append",
        "primary_key": [["id"]],
        "cursor_field": ["updated"],
        "selected": True,
        "backfill": False,
        "fields": {
            "id": {"type": "integer"},
            "title": {"type": "string"},
            "price": {"type": "number"},
            "updated": {"type": "string", "format": "date-time"},
        },
    }
    (model,) = yaml.safe_load((settings.project_dir / FILES[4]).read_text())["models"]
    described = {column["name"]: column["description"] for column in model["columns"]}
    assert described["title"] == "What it is called."


def test_the_second_time_nothing_is_written(settings: Settings) -> None:
    discover(settings)
    write_files(plan(settings, money=("price",)))
    before = snapshot(settings)
    again = plan(settings, money=("price",))
    assert {file.status for file in again.files} == {"unchanged"}
    assert write_files(again) == []
    assert snapshot(settings) == before


def test_chosen_fields_come_with_the_key_and_the_cursor(settings: Settings) -> None:
    discover(settings)
    write_files(plan(settings, fields=("price",)))
    assert list(config(settings)["fields"]) == ["id", "price", "updated"]


def test_a_stream_that_exists_gets_what_it_lacks(settings: Settings) -> None:
    discover(settings)
    write_files(plan(settings, fields=("price",)))
    document = {**config(settings), "feeder": {"lookback_days": 90}}
    (settings.project_dir / FILES[0]).write_text(json.dumps(document))
    for name in FILES[1:]:
        (settings.project_dir / name).unlink()
    assert len(write_files(plan(settings))) == 4
    assert config(settings) == document


@pytest.mark.parametrize(
    ("changes", "choices", "mode", "cursor"),
    [
        ({}, {}, "incremental", ["updated"]),
        ({"supported_sync_modes": ["full_refresh"]}, {}, "full_refresh", []),
        ({"default_cursor_field": []}, {"cursor_field": ("id",)}, "incremental", ["id"]),
        ({}, {"sync_mode": "full_refresh"}, "full_refresh", []),
    ],
)
def test_the_sync_mode_follows_from_the_cursor(
    settings: Settings,
    changes: dict[str, Any],
    choices: dict[str, Any],
    mode: str,
    cursor: list[str],
) -> None:
    discover(settings, **changes)
    write_files(plan(settings, **choices))
    assert (config(settings)["sync_mode"], config(settings)["cursor_field"]) == (mode, cursor)


def test_a_proposed_cursor_that_is_no_field_is_left_out_and_told(settings: Settings) -> None:
    discover(settings, default_cursor_field=["changed_at"])
    made = plan(settings)
    assert made.remarks[0].endswith("says which version is the newest")
    assert "proposes the cursor field changed_at, which is not one of its fields" in made.remarks[0]
    write_files(made)
    assert (config(settings)["sync_mode"], config(settings)["cursor_field"]) == ("incremental", [])
    assert find_problems(settings) == []


def test_a_stream_that_tells_deletes_is_never_without_them(settings: Settings) -> None:
    told = {"_ab_cdc_deleted_at": {"type": "string"}, "_ab_cdc_lsn": {"type": "number"}}
    discover(settings, json_schema={"properties": {**FIELDS, **told}})
    write_files(plan(settings, fields=("title",)))
    assert "_ab_cdc_deleted_at" in config(settings)["fields"]
    sql = (settings.project_dir / FILES[3]).read_text()
    assert "meta={'deletes': 'hard', 'order': 'log'}" in sql
    assert "{{ log_position(['_ab_cdc_lsn']) }} as _log_position," in sql
    assert "{{ deleted_at('_ab_cdc_deleted_at') }} as _deleted_at," in sql
    assert sql.count("deleted_at") == 3


def test_a_stream_without_a_key_keeps_every_row_and_the_user_is_told(settings: Settings) -> None:
    deleted = {"_ab_cdc_deleted_at": {"type": "string"}}
    discover(
        settings, source_defined_primary_key=[], json_schema={"properties": {**FIELDS, **deleted}}
    )
    made = plan(settings)
    write_files(made)
    assert any("defines no primary key for products" in remark for remark in made.remarks)
    assert (config(settings)["primary_key"], config(settings)["deletes"]) == ([], "soft")
    sql = (settings.project_dir / FILES[3]).read_text()
    assert "unique_key='_airbyte_raw_id'" in sql
    assert "newest_wins('renamed', '_airbyte_raw_id')" in sql


def test_a_history_is_two_more_files(settings: Settings) -> None:
    discover(settings)
    write_files(plan(settings))
    path = settings.project_dir / FILES[0]
    path.write_text(json.dumps(config(settings) | {"history": True}))
    made = write_files(plan(settings))
    folder = settings.project_dir / "include/dbt/models/processed/shop"
    assert [file.path for file in made] == [
        folder / "hist_shop__products.sql",
        folder / "hist_shop__products.yml",
    ]
    assert "incremental_strategy='versions'" in made[0].text


def test_a_log_that_begins_anew_is_named_in_utc(settings: Settings) -> None:
    discover(settings, json_schema={"properties": {**FIELDS, "it's lsn": {"type": "number"}}})
    write_files(plan(settings))
    path = settings.project_dir / FILES[0]
    changes = {"log_fields": ["it's lsn"], "log_restarts": ["2026-03-05T10:00:00+02:00"]}
    path.write_text(json.dumps(config(settings) | changes))
    [sql] = [file.text for file in plan(settings).files if file.path.suffix == ".sql"][1:]
    assert (
        " ".join(sql.split()).count(
            "log_position(['it_s_lsn'], restarts=[ '2026-03-05T08:00:00.000000Z', ])"
        )
        == 1
    )


@pytest.mark.parametrize("name", ["year", "Month", "snapshot_id"])
def test_a_field_under_a_name_that_is_taken_gets_a_column_of_its_own(
    settings: Settings, name: str
) -> None:
    inner = {"type": "object", "properties": {"day": {"type": "integer"}}}
    discover(
        settings, json_schema={"properties": {**FIELDS, name: {"type": "string"}, "due": inner}}
    )
    write_files(plan(settings))
    made = config(settings)["fields"]
    assert made[name] == {"type": "string", "column": f"source_{name}"}
    day = {"type": "integer", "column": "source_day"}
    assert made["due"] == {"type": "object", "properties": {"day": day}}
    ddl = (settings.project_dir / FILES[1]).read_text()
    assert f'"source_{name}" VARCHAR' in ddl
    assert '"due" STRUCT("source_day" BIGINT)' in ddl
    assert f"source_{name.lower()}" in (settings.project_dir / FILES[3]).read_text()
    assert find_problems(settings) == []


# What is refused


@pytest.mark.parametrize("edited", FILES[3:])
def test_an_edited_file_is_never_overwritten(settings: Settings, edited: str) -> None:
    discover(settings)
    write_files(plan(settings))
    path = settings.project_dir / edited
    path.write_text(path.read_text() + "# edited by hand\n")
    (settings.project_dir / FILES[1]).unlink()
    before = snapshot(settings)
    made = plan(settings)
    assert [file.path for file in made.differing] == [path]
    assert "-# edited by hand" in made.differing[0].diff(settings.project_dir)
    with pytest.raises(ScaffoldError, match="nothing was written") as caught:
        write_files(made)
    assert str(path) in str(caught.value)
    assert snapshot(settings) == before

    assert [file.path for file in write_files(made, keep=True)] == [settings.project_dir / FILES[1]]
    assert path.read_text().endswith("# edited by hand\n")


@pytest.mark.parametrize(
    ("changes", "choices", "text", "hint"),
    [
        ({"default_cursor_field": []}, {}, "no cursor field", "--cursor-field"),
        ({}, {"fields": ("pirce",)}, "no field pirce", "did you mean price?"),
        ({}, {"primary_key": (("uid",),)}, "no field uid", "did you mean id?"),
        ({}, {"cursor_field": ("at",)}, "no field at", "known: id, price, title"),
        ({}, {"sync_mode": "cdc"}, r"\$.sync_mode = \"cdc\": should be", ""),
        ({}, {"destination_sync_mode": "truncate"}, "not be a valid stream", ""),
    ],
)
def test_what_cannot_be_made_is_told(
    settings: Settings, changes: dict[str, Any], choices: dict[str, Any], text: str, hint: str
) -> None:
    discover(settings, **changes)
    with pytest.raises(ScaffoldError, match=text) as caught:
        plan(settings, **choices)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("choices", "option"),
    [
        ({"primary_key": (("title",),)}, "--primary-key"),
        ({"cursor_field": ("id",)}, "--cursor-field"),
        ({"sync_mode": "full_refresh"}, "--sync-mode"),
        ({"fields": ("other",)}, "--field"),
    ],
)
def test_options_that_contradict_the_stream_json_are_refused(
    settings: Settings, choices: dict[str, Any], option: str
) -> None:
    discover(settings)
    write_files(plan(settings))
    with pytest.raises(ScaffoldError, match=f"contradicts {option}"):
        plan(settings, **choices)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('"integer"', '"int"', r"\$\.json_schema\.properties\.id\.type = \"int\": should be"),
        ('[["id"]]', "[5]", "not lists"),
    ],
)
def test_a_source_schema_that_somebody_has_broken_is_told(
    settings: Settings, old: str, new: str, text: str
) -> None:
    discover(settings)
    path = settings.sources_dir / "shop" / "products.json"
    document = path.read_text()
    assert old in document
    path.write_text(document.replace(old, new))
    with pytest.raises(StreamConfigError, match=text):
        plan(settings)


def test_nothing_is_made_of_nothing(settings: Settings) -> None:
    with pytest.raises(ScaffoldError, match="the fields of shop/products are unknown"):
        plan(settings)


@pytest.mark.parametrize(("source", "name"), [("a__b", "c"), ("a", "../b"), ("", "b"), ("a", "")])
def test_names_that_cannot_be_a_stream_are_refused(
    settings: Settings, source: str, name: str
) -> None:
    with pytest.raises(StreamConfigError, match="is not a valid name of a"):
        plan_files(settings, source, name, Choices())


# A Parquet file as the schema


def parquet(path: Path, query: str) -> Path:
    with duckdb.connect() as con:
        con.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


def test_a_parquet_file_tells_the_fields(settings: Settings, tmp_path: Path) -> None:
    file = parquet(
        tmp_path / "part_0.parquet",
        "SELECT 'r' AS _airbyte_raw_id, now() AS _airbyte_extracted_at, 1::bigint AS id, "
        "1.5::double AS price, true AS active, {'city': 'x', 'geo': {'lat': 1::double}} AS place, "
        "[{'sku': 'x'}] AS lines, date '2026-01-01' AS due, now() AS at, 2026 AS year, '1' AS day",
    )
    write_files(plan(settings, file, primary_key=(("id",),), cursor_field=("at",)))
    assert config(settings)["fields"] == {
        "id": {"type": "integer"},
        "price": {"type": "number"},
        "active": {"type": "boolean"},
        "place": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "geo": {"type": "object", "properties": {"lat": {"type": "number"}}},
            },
        },
        "lines": {
            "type": "array",
            "items": {"type": "object", "properties": {"sku": {"type": "string"}}},
        },
        "due": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "year": {"type": "integer", "column": "source_year"},
        "day": {"type": "string", "column": "source_day"},
    }
    assert find_problems(settings) == []


def test_a_parquet_file_keeps_names_that_airbyte_would_not_write(
    settings: Settings, tmp_path: Path
) -> None:
    odd = ["First Name", "a.b", 'q"x', "😀", "1st", "x-y", "select", "Größe"]
    columns = ", ".join(f"'x' AS {identifier(name)}" for name in odd)
    inner = "{'Zip Code': 'x'} AS address"
    file = parquet(tmp_path / "a.parquet", f"SELECT 1::bigint AS id, {inner}, {columns}")
    write_files(plan(settings, file, primary_key=(("id",),), sync_mode="full_refresh"))
    fields = config(settings)["fields"]
    assert {name: fields[name].get("column") for name in odd} == {
        name: name if name != "select" else None for name in odd
    }
    ddl, model = ((settings.project_dir / FILES[place]).read_text() for place in (1, 3))
    for name in odd:
        assert f"    {identifier(name)} VARCHAR" in ddl
    assert '"address" STRUCT("Zip Code" VARCHAR)' in ddl
    assert '"First Name" as first_name,' in model
    assert 'address."Zip Code" as address_zip_code,' in model
    assert find_problems(settings) == []


def test_a_file_that_airbyte_did_not_write_is_remarked(tmp_path: Path) -> None:
    (note,) = read_sample(parquet(tmp_path / "a.parquet", "SELECT 1::bigint AS id")).notes
    assert "lacks _airbyte_raw_id, _airbyte_extracted_at" in note


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("SELECT 1.5::decimal(5, 2) AS price", r"column price is DECIMAL\(5,2\)"),
        ("SELECT {'a': [timestamp '2026-01-01']} AS x", r"column x\.a is TIMESTAMP"),
        ("""SELECT 1 AS "{{ x }}" """, "has a name that cannot be used in a model"),
        ("""SELECT 1 AS "a\nb" """, "has a name that cannot be used in a model"),
        ("SELECT map {'a': 1} AS m", "column m is MAP"),
        ("SELECT 'r' AS _airbyte_raw_id", "only Airbyte's own columns"),
    ],
)
def test_what_the_feeder_would_not_take_is_refused(tmp_path: Path, query: str, text: str) -> None:
    with pytest.raises(ScaffoldError, match=text):
        read_sample(parquet(tmp_path / "a.parquet", query))


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no")
    for name in ("a.parquet", "absent.parquet"):
        with pytest.raises(ScaffoldError, match=f"{name}: cannot be read"):
            read_sample(tmp_path / name)


# The dbt source


def test_a_stream_that_another_file_declares_is_not_declared_again(settings: Settings) -> None:
    # As earlier releases did it: all streams of a source in one file.
    declared = settings.project_dir / "include/dbt/models/processed/shop/_shop__sources.yml"
    declared.parent.mkdir()
    declared.write_text(
        "sources:\n  - name: shop\n    database: lakehouse\n    schema: staging\n    tables:\n"
        "      - {name: products, identifier: stg_shop__products}\n"
    )
    discover(settings)
    made = plan(settings)
    assert [file.path for file in made.files if file.status == "unchanged"] == [declared]
    assert len(write_files(made)) == 4
    assert find_problems(settings) == []


@pytest.mark.parametrize(
    "text", ["sources: [", "sources: 5", "- sources", "sources: [{tables: x}]"]
)
def test_a_file_that_declares_nothing_hides_nothing(settings: Settings, text: str) -> None:
    odd = settings.project_dir / "include/dbt/models/processed/odd.yml"
    odd.write_text(text)
    discover(settings)
    assert [file.status for file in plan(settings).files] == ["new"] * 5
