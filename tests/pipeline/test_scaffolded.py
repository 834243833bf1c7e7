"""A scaffolded stream runs at once: from a schema to rows, with everything in between generated."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from typer.testing import CliRunner

from lotus_lake.bucket.keys import layout_of
from lotus_lake.cli import app
from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import HIVE_COLUMNS
from lotus_lake.config.streams import Stream, source_schema
from lotus_lake.lake.connection import open_lake
from lotus_lake.landing.tables import landing_columns
from lotus_lake.observe.balance import read_balance
from lotus_lake.project.manifest import load_models
from lotus_lake.project.source_schemas import write_source_schemas
from lotus_lake.scaffold.stream_files import plan_files, write_files
from lotus_lake.scaffold.stream_json import Choices
from lotus_lake.sql import identifier, literal
from lotus_lake.validation import find_problems
from tests.catalogs import on_sqlite
from tests.pipeline.driver import PROJECT, feed_stream
from tests.pipeline.logged import run_dbt, start

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TEXT: dict[str, Any] = {"type": ["null", "string"]}
NUMBER: dict[str, Any] = {"type": ["null", "number"]}
ID: dict[str, Any] = {"type": ["null", "integer"]}
MOMENT: dict[str, Any] = {"type": ["null", "string"], "format": "date-time"}
CATALOG: dict[str, Any] = {
    "streams": [
        {
            "name": "products",
            "json_schema": {
                "properties": {
                    "id": {**ID, "description": "The product's {{ id }}: never changes"},
                    "order": ID,
                    "price": NUMBER,
                    "active": {"type": "boolean"},
                    "vendor": {
                        "type": "object",
                        "properties": {
                            "id": ID,
                            "name": TEXT,
                            "address": {"type": "object", "properties": {"city": TEXT}},
                        },
                    },
                    "tags": {"type": "array", "items": TEXT},
                    "updatedAt": MOMENT,
                }
            },
            "supported_sync_modes": ["full_refresh", "incremental"],
            "default_cursor_field": ["updatedAt"],
            "source_defined_primary_key": [["id"]],
        },
        {
            "name": "order_lines",
            "json_schema": {
                "properties": {
                    "order": ID,
                    "line": TEXT,
                    "amount": NUMBER,
                    "left": {"type": "string", "format": "date"},
                }
            },
            "supported_sync_modes": ["full_refresh"],
            "source_defined_primary_key": [["order"], ["line"]],
        },
        {
            "name": "clicks",
            "json_schema": {"properties": {"id": ID, "page": TEXT}},
            "supported_sync_modes": ["full_refresh"],
        },
        {
            "name": "accounts",
            "json_schema": {
                "properties": {
                    "id": ID,
                    "owner": TEXT,
                    "_ab_cdc_lsn": NUMBER,
                    "_ab_cdc_deleted_at": TEXT,
                }
            },
            "supported_sync_modes": ["full_refresh", "incremental"],
            "default_cursor_field": ["_ab_cdc_lsn"],
            "source_defined_primary_key": [["id"]],
        },
    ]
}
# Versions of records in the order they arrive; EXTRACTED says when Airbyte read them.
PRODUCTS = [
    "1, 5, 0.1 + 0.2, true, {'id': 7, 'name': 'Ann', 'address': {'city': 'Łódź'}}, ['a', 'b'], "
    "timestamptz '2026-03-02'",
    "1, 6, 10.25, false, {'id': 8, 'name': 'Bob', 'address': null}, null, timestamptz '2026-03-03'",
    "2, null, 'NaN'::double, null, null, [], null",
    "1, 4, 9, true, null, null, timestamptz '2026-03-01'",
]
# The character NUL in a key has to survive the choice of the newest version, and a merge.
LINES = [
    "1, 'a' || chr(0) || 'b', 0.5, date '2026-02-28'",
    "1, 'b', 2.5, null",
    "1, 'a' || chr(0) || 'b', 1.5, date '2026-03-01'",
]
# An older version of the second, a newer one of the third, and a line of another order.
MORE_LINES = [
    "1, 'b', 9.5, null",
    "1, 'a' || chr(0) || 'b', 3.5, date '2026-03-02'",
    "2, 'a', 4.5, null",
    # Without a key, and with a value that is kept out.
    "null, 'a', 4.5, null",
    "3, 'a', 'inf'::double, null",
]
EXTRACTED = (
    "2026-03-10 12:00", "2026-03-10 12:01", "2026-03-10 12:02", "2026-03-10 11:00",
    "2026-03-10 12:03", "2026-03-10 12:04",
    "2026-03-10 12:05", "2026-03-10 12:06",
)  # fmt: skip


NAN = '{"price":"nan is not a valid decimal(18, 4)"}'
LINES_QUERY = (
    "SELECT order_line_order, line, amount::varchar, left_date::varchar "
    "FROM lakehouse.main.int_shop__order_lines ORDER BY ALL"
)


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The same with a copy of the project, to add streams to."""
    copy = tmp_path / "project"
    shutil.copytree(
        PROJECT / "include", copy / "include", ignore=shutil.ignore_patterns("target", "logs")
    )
    (copy / "plugins").symlink_to(PROJECT / "plugins")
    return environment | {
        "LAKE_PROJECT_DIR": str(copy),
        "LAKE_STREAMS_DIR": str(copy / "include" / "streams"),
    }


@on_sqlite
def test_a_discovered_stream_runs_at_once(
    environment: dict[str, str], client: S3Client, tmp_path: Path
) -> None:
    settings = Settings.from_env(environment)
    assert {entry.status for entry in write_source_schemas(settings, "shop", CATALOG)} == {"new"}
    products = _scaffold(settings, "products", Choices(money=("price",)))
    lines = _scaffold(settings, "order_lines", Choices(money=("amount",)))
    assert find_problems(settings) == []

    _put(settings, client, products, PRODUCTS, tmp_path)
    _put(settings, client, lines, LINES, tmp_path)
    with open_lake(settings) as lake:
        assert feed_stream(lake, products, client).backlog_files == 0
        assert feed_stream(lake, lines, client).backlog_files == 0
    output = _build(settings, environment, tmp_path, "tag:shop__products", "tag:shop__order_lines")
    # Models and tests of their keys.
    assert "PASS=7 WARN=0 ERROR=0 SKIP=0" in output, output

    with open_lake(settings) as lake:
        assert lake.rows(
            "SELECT product_id, vendor_id, vendor_name, product_order, price::varchar, is_active, "
            "updated_at::date::varchar, vendor_address_json, tags, _lake_bad_values "
            "FROM lakehouse.main.int_shop__products ORDER BY product_id"
        ) == [
            (1, 8, "Bob", 6, "10.2500", False, "2026-03-03", None, None, None),
            (2, None, None, None, None, None, None, None, [], NAN),
        ]
        assert lake.rows(LINES_QUERY) == [
            (1, "a\0b", "1.5000", "2026-03-01"),
            (1, "b", "2.5000", None),
        ]

    sql = settings.project_dir / "include/dbt/models/processed/shop/int_shop__order_lines.sql"
    replaced = sql.read_text().replace("tags=", "meta={'keep_out': ['amount']}, tags=")
    sql.write_text(replaced)
    _put(settings, client, lines, MORE_LINES, tmp_path, first=len(LINES))
    file = tmp_path / "without_key.parquet"
    _write_parquet(f"SELECT {_airbyte(6)}, 'x' AS line, 1.0::double AS amount", file)
    _upload(settings, client, lines, file, "without_key.parquet")
    with open_lake(settings) as lake:
        assert feed_stream(lake, lines, client).quarantined == 0
    output = _build(settings, environment, tmp_path, "int_shop__order_lines")
    assert "int_shop__order_lines: 2 new rows with no key, kept out" in output
    assert "int_shop__order_lines: 1 new rows with bad value, kept out" in output
    with open_lake(settings) as lake:
        assert lake.rows(LINES_QUERY) == [
            (1, "a\0b", "3.5000", "2026-03-02"),
            (1, "b", "2.5000", None),
            (2, "a", "4.5000", None),
        ]
        assert lake.rows(
            "SELECT order_line_order, line, _lake_reason "
            "FROM lakehouse.meta.kept_out_int_shop__order_lines ORDER BY ALL"
        ) == [
            (3, "a", 'bad value: {"amount":"inf is not a valid decimal(18, 4)"}'),
            (None, "a", "no key"),
            (None, "x", "no key"),
        ]


@on_sqlite
def test_a_stream_known_from_a_file_only_runs_at_once(
    environment: dict[str, str], client: S3Client, tmp_path: Path
) -> None:
    settings = Settings.from_env(environment)
    sample = tmp_path / "part_0.parquet"
    rows = "SELECT 1 AS id, 'Ann' AS name, {'vip': true} AS flags, timestamptz '2026-03-01' AS seen"
    _write_parquet(f"SELECT {_airbyte(0)}, * FROM ({rows})", sample)
    choices = Choices(primary_key=(("id",),), cursor_field=("seen",))
    contacts = _scaffold(settings, "contacts", choices, sample)
    assert find_problems(settings) == []

    _upload(settings, client, contacts, sample, "part_0.parquet")
    with open_lake(settings) as lake:
        assert feed_stream(lake, contacts, client).backlog_files == 0
    output = _build(settings, environment, tmp_path, "tag:shop__contacts")
    assert "PASS=3 WARN=0 ERROR=0 SKIP=0" in output, output
    with open_lake(settings) as lake:
        assert lake.rows(
            "SELECT contact_id, contact_name, is_flags_vip FROM lakehouse.main.int_shop__contacts"
        ) == [(1, "Ann", True)]


@on_sqlite
def test_a_stream_without_a_key_keeps_each_row_once(
    environment: dict[str, str], client: S3Client, tmp_path: Path
) -> None:
    settings = Settings.from_env(environment)
    write_source_schemas(settings, "shop", CATALOG)
    clicks = _scaffold(settings, "clicks", Choices())
    assert find_problems(settings) == []

    def arrive(*rows: str, first: int) -> list[tuple[Any, ...]]:
        _put(settings, client, clicks, rows, tmp_path, first=first)
        with open_lake(settings) as lake:
            feed_stream(lake, clicks, client)
        output = _build(settings, environment, tmp_path, "int_shop__clicks")
        assert "PASS=3 WARN=0 ERROR=0 SKIP=0" in output, output
        with open_lake(settings) as lake:
            return lake.rows(
                "SELECT click_id, page FROM lakehouse.main.int_shop__clicks ORDER BY ALL"
            )

    assert arrive("1, 'a'", "1, 'a'", first=0) == [(1, "a"), (1, "a")]
    assert arrive("null, 'b'", first=2) == [(1, "a"), (1, "a"), (None, "b")]
    # The same bytes under another key.
    _upload(settings, client, clicks, tmp_path / "shop__clicks_0.parquet", "copy.parquet")
    assert arrive("2, 'c'", first=3) == [(1, "a"), (1, "a"), (2, "c"), (None, "b")]


@on_sqlite
def test_a_model_that_gains_the_column_of_rescued_values_keeps_them(
    environment: dict[str, str], client: S3Client, tmp_path: Path
) -> None:
    settings = Settings.from_env(environment)
    write_source_schemas(settings, "shop", CATALOG)
    clicks = _scaffold(settings, "clicks", Choices())
    models = settings.project_dir / "include" / "dbt" / "models"
    model = models / "processed" / "shop" / "int_shop__clicks.sql"
    carries = model.read_text()
    model.write_text(carries.replace("        _lake_rescued,\n", ""))
    (advice,) = find_problems(settings)
    assert advice.is_advice
    (models / "enriched" / "shop").mkdir()
    (models / "enriched" / "shop" / "fct_clicks.sql").write_text(
        "{{ config(contract={'enforced': false}) }} "
        "select coalesce(click_id::varchar, {{ rescued('id') }}) as click, page "
        "from {{ ref('int_shop__clicks') }}"
    )

    def arrive(number: int, *selection: str) -> None:
        file = tmp_path / f"{number}.parquet"
        _write_parquet(f"SELECT {_airbyte(number)}, 'no. {number}' AS id, 'a' AS page", file)
        _upload(settings, client, clicks, file, file.name)
        with open_lake(settings) as lake:
            assert feed_stream(lake, clicks, client, f"run {number}").rescued == 1
        assert "ERROR=0" in _build(settings, environment, tmp_path, *selection)

    arrive(0, "int_shop__clicks")
    model.write_text(carries)
    assert find_problems(settings) == []
    arrive(1, "int_shop__clicks+")
    with open_lake(settings) as lake:
        # What a model has not read yet is not there.
        rows = "SELECT click, page FROM lakehouse.main.fct_clicks ORDER BY ALL"
        assert lake.rows(rows) == [("no. 1", "a"), (None, "a")]


# In the order of the log; the times are in EXTRACTED.
ACCOUNTS = [
    "1, 'Ann', 1, null",
    "2, 'Bob', 2, null",
    "1, null, 3, '2026-03-10T12:00:00Z'",
    # Older than its delete, which is already there.
    "3, 'Cid', 1, null",
    "3, null, 4, '2026-03-10T12:00:00Z'",
    "1, 'Ann again', 5, null",
    # Read once more, later, by an attempt that begins where the last one did.
    "1, 'Ann', 1, null",
    # The same of another one, from before what is known of it.
    "2, 'Bob', 1, null",
]


@on_sqlite
def test_a_deleted_record_is_in_no_table_until_it_comes_back(
    environment: dict[str, str], client: S3Client, tmp_path: Path
) -> None:
    settings = Settings.from_env(environment)
    write_source_schemas(settings, "shop", CATALOG)
    accounts = _scaffold(settings, "accounts", Choices(fields=("owner",)))
    config = settings.streams_dir / "shop" / "accounts.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"history": True}))
    assert len(write_files(plan_files(settings, "shop", "accounts", Choices()))) == 2
    enriched = settings.project_dir / "include" / "dbt" / "models" / "enriched" / "shop"
    enriched.mkdir()
    (enriched / "fct_accounts.sql").write_text(
        "{{ config(contract={'enforced': false}) }} "
        "select account_id, owner from {{ ref('int_shop__accounts') }}"
    )
    assert find_problems(settings) == []

    def arrive(*numbers: int) -> list[tuple[Any, ...]]:
        for number in numbers:
            _put(settings, client, accounts, [ACCOUNTS[number]], tmp_path, first=number)
        with open_lake(settings) as lake:
            feed_stream(lake, accounts, client)
        _build(settings, environment, tmp_path, "tag:shop__accounts+")
        with open_lake(settings) as lake:
            found = lake.rows(QUERY.format("int_shop__accounts"))
            assert found == lake.rows(QUERY.format("fct_accounts"))
        return found

    def kept_out() -> list[tuple[Any, ...]]:
        with open_lake(settings) as lake:
            return lake.rows("SELECT account_id, _lake_reason FROM lakehouse.meta." + KEPT_OUT)

    assert arrive(0, 1) == [(1, "Ann"), (2, "Bob")]
    assert arrive(2, 4) == [(2, "Bob")]
    assert sorted(kept_out()) == [(1, "deleted"), (3, "deleted")]
    assert arrive(3, 5) == [(1, "Ann again"), (2, "Bob")]
    assert arrive(6, 7) == [(1, "Ann again"), (2, "Bob")]
    assert kept_out() == [(3, "deleted")]
    with open_lake(settings) as lake:
        history = lake.rows(HISTORY)
        models = load_models(tmp_path / "target" / "manifest.json")
        assert read_balance(lake, accounts, models, read=True).problems == ()
    assert models["hist_shop__accounts"].key == ("account_id", "_airbyte_raw_id")
    assert history == [
        (1, "Ann", False, False, "12:00", "12:02", 1),
        (1, None, False, True, "12:02", "12:04", 0),
        (1, "Ann again", True, False, "12:04", None, 0),
        (2, "Bob", True, False, "12:01", None, 1),
        (3, "Cid", False, False, "11:00", "12:03", 0),
        (3, None, True, True, "12:03", None, 0),
    ]

    # The catalog is lost; rows that are few would be lost with it.
    with open_lake(settings) as lake:
        for schema in ("main", "meta"):
            lake.con.execute(
                f"CALL ducklake_flush_inlined_data('lakehouse', schema_name => '{schema}')"
            )
    Path(environment["LAKE_CATALOG"].removeprefix("sqlite:")).unlink()
    run = CliRunner().invoke(app, ["rebuild", "--json"], env=environment)
    assert run.exit_code == 0, run.output
    with open_lake(settings) as lake:
        assert lake.rows(QUERY.format("int_shop__accounts")) == [(1, "Ann again"), (2, "Bob")]
        assert lake.rows(HISTORY) == history
    assert kept_out() == [(3, "deleted")]


QUERY = "SELECT account_id, owner FROM lakehouse.main.{} ORDER BY ALL"
HISTORY = (
    "SELECT account_id, owner, is_current, is_deleted, strftime(valid_from, '%H:%M'), "
    "strftime(valid_to, '%H:%M'), coalesce(len(_lake_repeats), 0) "
    "FROM lakehouse.main.hist_shop__accounts ORDER BY account_id, valid_from"
)
KEPT_OUT = "kept_out_int_shop__accounts"


def _scaffold(
    settings: Settings, name: str, choices: Choices, sample: Path | None = None
) -> Stream:
    plan = plan_files(settings, "shop", name, choices, sample)
    assert len(write_files(plan)) == 5
    again = plan_files(settings, "shop", name, choices, sample)
    assert {file.status for file in again.files} == {"unchanged"}
    assert write_files(again) == []
    return plan.stream


def _put(
    settings: Settings,
    client: S3Client,
    stream: Stream,
    rows: Sequence[str],
    folder: Path,
    first: int = 0,
) -> None:
    """A file for each row, of the types the schema asks for."""
    columns = landing_columns(stream, source_schema(settings.sources_dir, stream))
    data = {
        identifier(name): kind
        for name, kind in columns.items()
        if not name.startswith(("_airbyte_", "_lake_")) and name not in HIVE_COLUMNS
    }
    casts = ", ".join(f"{name}::{kind} AS {name}" for name, kind in data.items())
    for number, row in enumerate(rows, first):
        file = folder / f"{stream.id}_{number}.parquet"
        values = f"(VALUES ({row})) AS rows ({', '.join(data)})"
        _write_parquet(f"SELECT {_airbyte(number)}, {casts} FROM {values}", file)
        _upload(settings, client, stream, file, f"part_{number}.parquet")


def _airbyte(number: int) -> str:
    return (
        f"'raw-{number}' AS _airbyte_raw_id, "
        f"timestamptz '{EXTRACTED[number]}' AS _airbyte_extracted_at, "
        "{'sync_id': 1::bigint, 'changes': "
        "[]::struct(field varchar, change varchar, reason varchar)[]} AS _airbyte_meta, "
        "0::bigint AS _airbyte_generation_id"
    )


def _write_parquet(query: str, file: Path) -> None:
    with duckdb.connect() as con:
        con.execute(f"COPY ({query}) TO {literal(str(file))} (FORMAT parquet)")


def _upload(settings: Settings, client: S3Client, stream: Stream, file: Path, name: str) -> None:
    key = f"{layout_of(settings, stream).prefix}year=2026/month=03/day=10/{name}"
    client.put_object(Bucket=settings.bucket, Key=key, Body=file.read_bytes())


def _build(settings: Settings, environment: dict[str, str], folder: Path, *selection: str) -> str:
    dbt_dir = str(settings.project_dir / "include" / "dbt")
    child = start(
        run_dbt,
        "--no-use-colors", "build", "--select", *selection,
        "--project-dir", dbt_dir, "--profiles-dir", dbt_dir,
        "--target-path", str(folder / "target"), "--log-path", str(folder / "logs"),
        environment={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        log=folder / "dbt.log",
    )  # fmt: skip
    code = child.wait()
    assert code == 0, child.output
    return child.output
