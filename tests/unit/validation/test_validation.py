"""Each thing that can be wrong with the files of a project is told, with its place and its fix."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_lake import validation
from lotus_lake.config.settings import Settings
from lotus_lake.config.stream_config import StreamConfig
from lotus_lake.config.streams import StreamFile
from lotus_lake.validation import Problem, check, find_problems, models, read_project

PROJECT = Path(__file__).resolve().parents[3]
ORDERS = "include/streams/shopify/orders.json"
MODELS = "include/dbt/models/processed/shopify"
SQL, YAML = f"{MODELS}/int_shopify__orders.sql", f"{MODELS}/int_shopify__orders.yml"
SOURCE = f"{MODELS}/_shopify__orders__source.yml"
LANDING = "include/landing/shopify/stg_shopify__orders.sql"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A copy of this project."""
    shutil.copytree(
        PROJECT / "include", tmp_path / "include", ignore=shutil.ignore_patterns("target", "logs")
    )
    return Settings.from_env({"LAKE_PROJECT_DIR": str(tmp_path)})


@pytest.fixture
def edit(settings: Settings) -> Callable[[str, str, str], None]:
    """Replace a text in a file of the copy, which has to be there."""

    def replace(file: str, old: str, new: str) -> None:
        path = settings.project_dir / file
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")

    return replace


def told(settings: Settings) -> list[tuple[str, int, str]]:
    """File, line and message of each problem."""
    found = find_problems(settings)
    syntax = ("cannot be read", "not JSON")
    assert all(problem.hint for problem in found if not problem.message.startswith(syntax))
    return [(str(p.file.relative_to(settings.project_dir)), p.line, p.message) for p in found]


@pytest.mark.parametrize(
    "columns",
    [
        "select order_id, columns(*) from landed",
        "select landed.* exclude (test) from landed",
        "from landed",
        "select {{ star('landed') }} from landed",
        "select id, {% for c in columns %}{{ c }}, {% endfor %} from landed",
        "select _airbyte_extracted_at, -- a) of the sync\n _airbyte_raw_id, _source_updated_at, "
        "_lake_row_id from landed",
        "select replace(note, ')', '--') as note, _airbyte_extracted_at, _airbyte_raw_id, "
        "_source_updated_at, _lake_row_id from landed",
        "select _airbyte_extracted_at, /* ) */ _airbyte_raw_id, "
        "{{ source_updated_at('updated_at') }} as _source_updated_at, _lake_row_id from landed",
    ],
)
def test_nothing_is_said_of_columns_that_may_be_there(settings: Settings, columns: str) -> None:
    path = settings.project_dir / SQL
    text = path.read_text("utf-8")
    body = text[text.index("    select\n        id as") : text.index("),\n\nnewest")]
    path.write_text(text.replace(body, columns + "\n"), "utf-8")
    assert told(settings) == []


def test_this_project_has_no_problem() -> None:
    project = read_project(Settings.from_env({"LAKE_PROJECT_DIR": str(PROJECT)}))
    assert len(project.streams) == len(project.dbt.models) == len(project.dbt.sources) == 9
    assert check(project) == []


def test_an_empty_project_lacks_only_the_schema_for_editors(tmp_path: Path) -> None:
    (tmp_path / "include" / "dbt").mkdir(parents=True)
    (tmp_path / "include" / "dbt" / "dbt_project.yml").write_text("name: x\n")
    found = told(Settings.from_env({"LAKE_PROJECT_DIR": str(tmp_path)}))
    assert found == [("include/streams/_stream.schema.json", 0, "is not current")]


Edit = tuple[str, str, str]
PROBLEMS: list[tuple[str, Edit, list[tuple[str, int, str]]]] = [
    ("broken JSON", (ORDERS, '"selected": true,', "oops"), [(ORDERS, 8, "not JSON")]),
    ("unknown word", (ORDERS, '"backfill"', '"bakfill"'), [(ORDERS, 9, r"\$\.bakfill = false")]),
    (
        "unknown type",
        (ORDERS, '"test": {"type": "boolean"}', '"test": {"type": "bool"}'),
        [
            (ORDERS, 14, r"\$\.fields\.test\.type = \"bool\": should be .*\"boolean\""),
        ],
    ),
    (
        "field the source does not have",
        (ORDERS, '"test":', '"tset":'),
        [(LANDING, 0, "is not current"), (ORDERS, 14, "field 'tset' is not in include/sources")],
    ),
    (
        "fields that are one column",
        (ORDERS, '"test":', '"TOTAL_TAX": {"type": "number"}, "test":'),
        [
            (LANDING, 0, "is not current"),
            (ORDERS, 14, "field 'TOTAL_TAX' is not in"),
            (ORDERS, 30, "fields 'TOTAL_TAX' and 'total_tax' are one column"),
        ],
    ),
    (
        "name that every table has",
        (ORDERS, '"test":', '"Snapshot-Id": {"type": "integer"}, "test":'),
        [
            (LANDING, 0, "is not current"),
            (ORDERS, 14, "field 'Snapshot-Id' has the name of a column that every table"),
            (ORDERS, 14, "field 'Snapshot-Id' is not in"),
        ],
    ),
    ("stale DDL", (LANDING, "DOUBLE", "FLOAT"), [(LANDING, 0, "is not current")]),
    (
        "broken source schema",
        ("include/sources/shopify/orders.json", '"json_schema"', '"schema"'),
        [("include/sources/shopify/orders.json", 0, "not a discovered stream")],
    ),
    (
        "stale schema for editors",
        ("include/streams/_stream.schema.json", '"append"', '"appendix"'),
        [("include/streams/_stream.schema.json", 0, "is not current")],
    ),
    (
        "model without its tag",
        (SQL, ", tags=['shopify__orders']", ""),
        [(SQL, 1, "is not tagged shopify__orders")],
    ),
    (
        "model with the tag of no stream",
        (SQL, "tags=['shopify__orders']", "tags=['shopify__order']"),
        [
            (SQL, 1, "is not tagged shopify__orders"),
            (SQL, 1, "is tagged shopify__order, which is no stream"),
        ],
    ),
    (
        "model that reads another stream",
        (SQL, "landed_rows('shopify', 'orders')", "landed_rows('shopify', 'customers')"),
        [(SQL, 4, "reads landed_rows('shopify', 'customers'), but is tagged shopify__orders")],
    ),
    (
        "model that reads its source directly",
        (SQL, "landed_rows('shopify', 'orders')", "source('shopify', 'orders')"),
        [(SQL, 0, "does not read landed_rows")],
    ),
    (
        "model without a key",
        (SQL, "unique_key='order_id', ", ""),
        [(SQL, 1, "has no unique_key")],
    ),
    (
        "newest by another key",
        (SQL, "newest_wins('renamed', 'order_id')", "newest_wins('renamed', 'customer_id')"),
        [(SQL, 31, "keeps the newest by customer_id, but merges by order_id")],
    ),
    (
        "newest of no rows",
        (SQL, "newest_wins('renamed', 'order_id')", "newest_wins('order_id')"),
        [(SQL, 31, "calls newest_wins('order_id'), which takes a CTE and its key")],
    ),
    (
        "rows that cannot be told apart",
        (SQL, "        _lake_snapshot_id,\n        _lake_row_id\n", "        _lake_snapshot_id\n"),
        [(SQL, 30, "CTE renamed does not list _lake_row_id, which newest_wins needs")],
    ),
    (
        "record without its own time",
        (SQL, " as _source_updated_at", " as _updated_at"),
        [(SQL, 31, "CTE renamed does not list _source_updated_at, which newest_wins needs")],
    ),
    (
        "key that is not tested",
        (YAML, "        data_tests: [unique, not_null]\n", ""),
        [
            (YAML, 4, "key order_id is not tested to be not null"),
            (YAML, 4, "key order_id is not tested to be unique"),
        ],
    ),
    (
        "key of which half is tested",
        (YAML, "[unique, not_null]", "[{unique: {config: {severity: warn}}}]"),
        [(YAML, 4, "key order_id is not tested to be not null")],
    ),
    (
        "key of two columns, tested as one",
        (SQL, "unique_key='order_id'", "unique_key=['order_id', 'customer_id']"),
        [
            (SQL, 31, "keeps the newest by order_id, but merges by order_id, customer_id"),
            (YAML, 4, "key customer_id is not tested to be not null"),
            (YAML, 4, "key order_id, customer_id is not tested to be unique"),
        ],
    ),
    (
        "stream that dbt does not know",
        (SOURCE, "- name: orders\n", "- name: ordesr\n"),
        [
            (SOURCE, 0, "does not declare shopify.orders, which is a stream"),
            (SOURCE, 8, "declares shopify.ordesr, which is no stream"),
        ],
    ),
    (
        "source declared twice",
        (SOURCE, "      - name: orders", "      - name: customers"),
        [
            (SOURCE, 0, "does not declare shopify.orders, which is a stream"),
            (SOURCE, 8, r"declares shopify\.customers again; it is in .*source.yml, line 8"),
        ],
    ),
    (
        "source of another table",
        (SOURCE, "identifier: stg_shopify__orders", "identifier: stg_shop__orders"),
        [(SOURCE, 8, r"says that shopify\.orders lands in stg_shop__orders")],
    ),
    (
        "broken YAML",
        (YAML, "version: 2", "version: [2"),
        [(YAML, 3, "cannot be read"), (YAML, 0, "is missing: nothing describes or tests")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"), [case[1:] for case in PROBLEMS], ids=[case[0] for case in PROBLEMS]
)
def test_a_problem_is_told_with_its_place(
    settings: Settings,
    edit: Callable[[str, str, str], None],
    change: Edit,
    expected: list[tuple[str, int, str]],
) -> None:
    edit(*change)
    found = told(settings)
    assert len(found) == len(expected), found
    for file, line, message in expected:
        text = re.escape(message) if "(" in message else message
        assert any(f == file and n == line and re.search(text, m) for f, n, m in found), found


def test_every_problem_is_told_at_once(
    settings: Settings, edit: Callable[[str, str, str], None]
) -> None:
    edit(ORDERS, '"backfill"', '"bakfill"')
    edit("include/streams/shopify/customers.json", '"selected": true,', "oops")
    edit(f"{MODELS}/int_shopify__order_refunds.sql", "unique_key='refund_id', ", "")
    edit("include/landing/klaviyo/stg_klaviyo__lists.sql", "VARCHAR", "TEXT")
    assert len({file for file, _, _ in told(settings)}) == 4


def test_a_stream_without_files_is_told_what_it_lacks(settings: Settings) -> None:
    path = settings.streams_dir / "shopify" / "products.json"
    path.write_text(
        json.dumps({"stream": "products", "primary_key": [["id"]], "fields": {"id": {}}})
    )
    (landing, model, source) = sorted(find_problems(settings), key=lambda p: p.file.suffix)[::-1]
    assert [landing.message, landing.hint] == [
        "does not declare shopify.products, which is a stream",
        "lotus-lake add-stream shopify products --keep",
    ]
    assert [model.message, model.hint] == ["is missing", "lotus-lake landing"]
    assert source.file == path
    assert source.hint == "lotus-lake add-stream shopify products"

    path.write_text(path.read_text().replace('{"stream"', '{"selected": false, "stream"'))
    assert find_problems(settings) == []


def test_files_of_a_stream_that_is_gone_are_told(settings: Settings) -> None:
    (settings.project_dir / ORDERS).unlink()
    assert [(file, message) for file, _, message in told(settings)] == [
        (SOURCE, "declares shopify.orders, which is no stream"),
        (SQL, "is tagged shopify__orders, which is no stream"),
        (LANDING, "belongs to no stream"),
    ]


def test_two_streams_that_would_share_a_table_are_told(settings: Settings) -> None:
    # DuckDB's names differ by more than case.
    document = (settings.project_dir / ORDERS).read_text().replace('"orders"', '"Orders"')
    path = settings.streams_dir / "shopify" / "Orders.json"
    path.write_text(document.replace('"selected": true', '"selected": false'))
    ((file, _, message),) = told(settings)
    assert file == ORDERS
    assert "has the id shopify__orders, as include/streams/shopify/Orders.json has" in message


def test_files_that_lie_below_those_of_another_stream_are_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Names cannot hold a slash, so that only a change of the grammar can bring this about.
    monkeypatch.setattr(
        "lotus_lake.config.streams.Stream.prefix",
        lambda stream, raw: f"{raw}shopify/" if stream.name == "orders" else f"{raw}shopify/x/",
    )
    found = told(settings)
    assert len(found) == 8
    assert all("which" in message and "orders.json feeds" in message for _, _, message in found)


@pytest.mark.parametrize(
    ("config", "problems"),
    [
        ("materialized='table', unique_key='order_id', tags=['shopify__orders']", 0),
        ("materialized='table', tags=['shopify__orders']", 0),
        ("unique_key='order_id', tags=['shopify__orders']", 1),
        ("materialized='view', unique_key='order_id', tags=['shopify__orders']", 1),
        ("materialized=var('how'), unique_key='order_id', tags=['shopify__orders']", 0),
    ],
)
def test_the_model_of_an_overwriting_stream_is_a_table(
    settings: Settings, edit: Callable[[str, str, str], None], config: str, problems: int
) -> None:
    edit(SQL, "unique_key='order_id', tags=['shopify__orders']", config)
    project = read_project(settings)
    for stream in project.streams:
        if stream.id == "shopify__orders":
            # As Airbyte calls it, whether or not the feeder takes such streams.
            overwriting: StreamConfig = stream.config.model_copy(
                update={"destination_sync_mode": "overwrite"}
            )
            object.__setattr__(stream, "config", overwriting)
    found = list(models.overwritten(project))
    assert len(found) == problems
    assert all("its stream overwrites" in problem.message for problem in found)


@pytest.mark.parametrize(
    ("sql", "yaml", "project"),
    [
        ("{{ config(\n    tags=['shopify__orders'],\n    unique_key='order_id',\n) }}", None, None),
        ("{{- config(unique_key=('order_id'), tags='shopify__orders') -}}", None, None),
        ("{{ config(unique_key='order_id') }}", "config: {tags: [shopify__orders]}", None),
        ("", "config: {tags: shopify__orders, unique_key: order_id}", None),
        (
            "{# config(tags=['x']) #}",
            None,
            "shopify: {int_shopify__orders: {+tags: [shopify__orders], +unique_key: order_id}}",
        ),
        ("{{ config(tags=var('tags'), unique_key=var('key')) }}", None, None),
    ],
    ids=["lines", "dashes", "tags in YAML", "all in YAML", "in the project", "unknown"],
)
def test_config_is_found_wherever_dbt_takes_it_from(
    settings: Settings,
    edit: Callable[[str, str, str], None],
    sql: str,
    yaml: str | None,
    project: str | None,
) -> None:
    edit(SQL, "{{ config(unique_key='order_id', tags=['shopify__orders']) }}", sql)
    if yaml:
        edit(
            YAML, "  - name: int_shopify__orders\n", f"  - name: int_shopify__orders\n    {yaml}\n"
        )
    if project:
        edit(
            "include/dbt/dbt_project.yml", "    processed:\n", f"    processed:\n      {project}\n"
        )
    found = told(settings)
    if "var(" in sql:
        # The tag is unknown, so that nothing is said of it; the model reads as untagged.
        assert [message for _, _, message in found if "unique_key" in message] == []
    else:
        assert found == []


def test_other_sources_and_models_are_none_of_our_business(settings: Settings) -> None:
    models = settings.project_dir / "include" / "dbt" / "models"
    (models / "enriched" / "sales" / "more.yml").write_text(
        "sources:\n  - name: sheets\n    tables: [{name: targets}]\nmodels: [{name: x}]\n"
    )
    (models / "enriched" / "sales" / "x.sql").write_text("select 1 as one")
    (models / "empty.yml").write_text("")
    assert find_problems(settings) == []


def test_a_check_can_be_added(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    added = Problem(settings.project_dir / "include" / "x.json", "is stale", "make it")
    monkeypatch.setattr(validation, "CHECKS", [*validation.CHECKS, lambda _: [added]])
    assert find_problems(settings) == [added]


@given(text=st.text(alphabet="{}[]()'\"#%,=:-\n aconfigtags", max_size=80))
def test_no_text_of_a_model_or_a_stream_breaks_the_checks(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    root = tmp_path_factory.mktemp("project")
    for name in (
        "streams/shop/orders.json",
        "sources/shop/orders.json",
        "dbt/models/processed/shop/int_shop__orders.sql",
        "dbt/models/processed/shop/int_shop__orders.yml",
    ):
        path = root / "include" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{{ config(" + text + ") }}" if name.endswith("sql") else text)
    found = find_problems(Settings.from_env({"LAKE_PROJECT_DIR": str(root)}))
    broken = root / "include" / "streams" / "shop" / "orders.json"
    assert any(problem.file == broken for problem in found)
    assert StreamFile(broken).stream_id == "shop__orders"


def test_checking_imports_neither_airflow_nor_dbt() -> None:
    code = (
        "import sys, lotus_lake.cli; from lotus_lake.validation import find_problems; "
        "from lotus_lake.config.settings import Settings; "
        f"assert find_problems(Settings.from_env({{'LAKE_PROJECT_DIR': {str(PROJECT)!r}}})) == []; "
        "print([name for name in ('airflow', 'cosmos', 'dbt', 'boto3') if name in sys.modules])"
    )
    environment: dict[str, Any] = {"PYTHONPATH": str(PROJECT / "plugins")}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
