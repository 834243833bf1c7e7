"""Each thing that can be wrong with the files of a project is told, with its place and its fix."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_lake import validation
from lotus_lake.config.settings import Settings
from lotus_lake.config.streams import StreamFile
from lotus_lake.doctor.machine import project_files_fit_together
from lotus_lake.validation import Problem, check, find_problems, processed_models, read_project
from lotus_lake.validation.project import read_streams
from tests.projects import PROJECT, copy_project

ORDERS = "include/streams/shopify/orders.json"
SCHEMA = "include/sources/shopify/orders.json"
MODELS = "include/dbt/models/processed/shopify"
SQL, YAML = f"{MODELS}/int_shopify__orders.sql", f"{MODELS}/int_shopify__orders.yml"
SOURCE = f"{MODELS}/_shopify__orders__source.yml"
LANDING = "include/landing/shopify/stg_shopify__orders.sql"
FILES = (ORDERS, SCHEMA, SQL, YAML, SOURCE, LANDING)
DBT_PROJECT = "include/dbt/dbt_project.yml"
EDITOR_SCHEMA = "include/streams/_stream.schema.json"
CONFIG = "{{ config(unique_key='order_id', tags=['shopify__orders']) }}"
OTHER_SOURCE = "sources:\n  - name: sheets\n    tables: [{name: targets}]\n"
Told = tuple[str, int, str]
Edit = Callable[[str, str, str], None]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A copy of this project."""
    return copy_project(tmp_path)


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


@pytest.fixture
def edit(settings: Settings) -> Edit:
    """Replace a text in a file of the copy, which has to be there."""
    return lambda file, old, new: replace_text(settings.project_dir / file, old, new)


def told(settings: Settings) -> list[Told]:
    """File, line and message of each problem."""
    found = find_problems(settings)
    syntax = ("cannot be read", "not JSON")
    assert all(problem.hint for problem in found if not problem.message.startswith(syntax))
    return [(str(p.file.relative_to(settings.project_dir)), p.line, p.message) for p in found]


def assert_told(found: list[Told], expected: list[Told]) -> None:
    assert len(found) == len(expected), found
    for file, line, message in expected:
        assert any(f == file and n == line and message in m for f, n, m in found), found


def test_this_project_has_no_problem() -> None:
    project = read_project(Settings.from_env({"LAKE_PROJECT_DIR": str(PROJECT)}))
    assert project.is_parsed
    assert len(project.streams) == len(project.models) == len(project.sources) == 9
    assert check(project) == []


# One thing wrong


@dataclass(frozen=True, slots=True)
class Case:
    """A stream like orders, with one change, and what is told of it.

    Attributes:
        name: What is wrong.
        changes: File, a text in it, and what takes its place.
        problems: Place and part of the message of each problem.
    """

    name: str
    changes: tuple[tuple[str, str, str], ...]
    problems: tuple[Told, ...] = ()


CASES = [
    Case("broken JSON", ((ORDERS, '"selected": true,', "oops"),), ((ORDERS, 8, "not JSON"),)),
    Case("unknown word", ((ORDERS, '"backfill"', '"bakfill"'),), ((ORDERS, 9, "$.bakfill"),)),
    Case(
        "unknown type",
        ((ORDERS, '"test": {"type": "boolean"}', '"test": {"type": "bool"}'),),
        ((ORDERS, 14, '$.fields.test.type = "bool": should be'),),
    ),
    Case(
        "field the source does not have",
        ((ORDERS, '"test":', '"tset":'),),
        (
            (LANDING, 0, "is not current"),
            (ORDERS, 14, "field 'tset' is not in include/sources"),
        ),
    ),
    Case(
        "fields that are one column",
        ((ORDERS, '"test":', '"TOTAL_TAX": {"type": "number"}, "test":'),),
        (
            (LANDING, 0, "is not current"),
            (ORDERS, 14, "field 'TOTAL_TAX' is not in"),
            (ORDERS, 30, "fields 'TOTAL_TAX' and 'total_tax' are one column"),
        ),
    ),
    Case("stale DDL", ((LANDING, "DOUBLE", "FLOAT"),), ((LANDING, 0, "is not current"),)),
    Case(
        "broken source schema",
        ((SCHEMA, '"json_schema"', '"schema"'),),
        ((SCHEMA, 0, "not a discovered stream"),),
    ),
    Case(
        "model without its tag",
        ((SQL, ", tags=['shopify__orders']", ""),),
        ((SQL, 1, "is not tagged shopify__orders"),),
    ),
    Case(
        "model with the tag of no stream",
        ((SQL, "tags=['shopify__orders']", "tags=['shopify__order']"),),
        (
            (SQL, 1, "is not tagged shopify__orders"),
            (SQL, 1, "is tagged shopify__order, which is not a stream"),
        ),
    ),
    Case(
        "model that is disabled",
        ((SQL, "config(", "config(enabled=false, "),),
        (
            (ORDERS, 0, "no dbt model is tagged shopify__orders"),
            (SQL, 1, "is disabled: no Dag builds it"),
        ),
    ),
    Case(
        "model that reads another stream",
        ((SQL, "landed_rows('shopify', 'orders')", "landed_rows('shopify', 'customers')"),),
        ((SQL, 4, "reads source shopify.customers, but is tagged shopify__orders"),),
    ),
    Case(
        "model that reads its source directly",
        ((SQL, "landed_rows('shopify', 'orders')", "source('shopify', 'orders')"),),
        ((SQL, 0, "does not read landed_rows"),),
    ),
    Case(
        "model without a key",
        ((SQL, "unique_key='order_id', ", ""),),
        ((SQL, 1, "has no unique_key"),),
    ),
    Case(
        "newest by another key",
        ((SQL, "newest_wins('converted', 'order_id')", "newest_wins('converted', 'customer_id')"),),
        ((SQL, 41, "finds versions of a record by customer_id, but merges by order_id"),),
    ),
    Case(
        "rows that cannot be told apart",
        (
            (
                SQL,
                "        _lake_snapshot_id,\n        _lake_row_id\n",
                "        _lake_snapshot_id\n",
            ),
        ),
        ((SQL, 40, "CTE converted has no column _lake_row_id, which newest_wins needs"),),
    ),
    Case(
        "record without its own time",
        ((SQL, " as _source_updated_at", " as _updated_at"),),
        ((SQL, 41, "CTE converted has no column _source_updated_at, which newest_wins needs"),),
    ),
    Case(
        "key that is not tested",
        ((YAML, "        data_tests: [unique, not_null]\n", ""),),
        (
            (YAML, 4, "key order_id is not tested to be not null"),
            (YAML, 4, "key order_id is not tested to be unique"),
        ),
    ),
    Case(
        "key of which half is tested",
        ((YAML, "[unique, not_null]", "[{unique: {config: {severity: warn}}}]"),),
        ((YAML, 4, "key order_id is not tested to be not null"),),
    ),
    Case(
        "key of two columns, tested as one",
        ((SQL, "unique_key='order_id'", "unique_key=['order_id', 'customer_id']"),),
        (
            (
                SQL,
                41,
                "finds versions of a record by order_id, but merges by order_id, customer_id",
            ),
            (YAML, 4, "key customer_id is not tested to be not null"),
            (YAML, 4, "key order_id, customer_id is not tested to be unique"),
        ),
    ),
    Case(
        "model that nothing describes",
        ((YAML, "models:", "x-models:"),),
        ((YAML, 0, "is missing: nothing describes or tests int_shopify__orders"),),
    ),
    Case(
        "source of another table",
        ((SOURCE, "identifier: stg_shopify__orders", "identifier: stg_shop__orders"),),
        ((SOURCE, 8, "says that shopify.orders lands in stg_shop__orders"),),
    ),
    # Nothing is wrong, wherever dbt takes the config from.
    Case(
        "config over lines",
        (
            (
                SQL,
                CONFIG,
                "{{ config(\n    tags=['shopify__orders'],\n    unique_key='order_id',\n) }}",
            ),
        ),
    ),
    Case(
        "config with dashes",
        ((SQL, CONFIG, "{{- config(unique_key=('order_id'), tags='shopify__orders') -}}"),),
    ),
    Case(
        "config in the YAML and in the project",
        (
            (SQL, CONFIG, "{# config(tags=['x']) #}"),
            (
                YAML,
                "    description: >-\n      Orders",
                "    config: {tags: shopify__orders}\n    description: >-\n      Orders",
            ),
            (
                DBT_PROJECT,
                "    processed:\n",
                "    processed:\n      shopify: {int_shopify__orders: {+unique_key: order_id}}\n",
            ),
        ),
    ),
    Case(
        "config from a variable",
        ((SQL, "unique_key='order_id'", "unique_key=var('no_such_variable', 'order_id')"),),
    ),
    Case(
        "newest by what a variable says",
        (
            (
                SQL,
                "newest_wins('converted', 'order_id')",
                "newest_wins('converted', var('no_such_variable', 'order_id'))",
            ),
        ),
    ),
    Case(
        "newest by named arguments",
        (
            (
                SQL,
                "newest_wins('converted', 'order_id')",
                "newest_wins(rows='converted', key='order_id')",
            ),
        ),
    ),
    Case(
        "another column from a macro",
        ((SQL, "        _lake_row_id\n", "        {{ target.name }}.*\n"),),
    ),
]


@pytest.fixture(scope="module")
def told_of_cases(tmp_path_factory: pytest.TempPathFactory) -> list[Told]:
    """What is told of a project that has a stream for each case."""
    settings = copy_project(tmp_path_factory.mktemp("cases"))
    for number, case in enumerate(CASES):
        own = f"case_{number}"
        for file in FILES:
            path = settings.project_dir / file.replace("orders", own)
            text = (settings.project_dir / file).read_text("utf-8")
            for old, new in [change[1:] for change in case.changes if change[0] == file]:
                assert old in text, case
                text = text.replace(old, new)
            path.write_text(text.replace("orders", own), "utf-8")
        for file, old, new in [change for change in case.changes if change[0] == DBT_PROJECT]:
            replace_text(settings.project_dir / file, old, new.replace("orders", own))
    # Other sources and models are none of our business.
    sales = settings.project_dir / "include" / "dbt" / "models" / "enriched" / "sales"
    (sales / "more.yml").write_text(OTHER_SOURCE)
    (sales / "x.sql").write_text("{{ config(contract={'enforced': false}) }} select 1 as one")
    return told(settings)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_problem_is_told_with_its_place(told_of_cases: list[Told], case: Case) -> None:
    name = re.compile(rf"case_{CASES.index(case)}\b|case_{CASES.index(case)}(?=__|\.)")
    own = [
        (name.sub("orders", file), line, name.sub("orders", message))
        for file, line, message in told_of_cases
        if name.search(file)
    ]
    assert_told(own, list(case.problems))


def test_nothing_is_told_besides(told_of_cases: list[Told]) -> None:
    assert len(told_of_cases) == sum(len(case.problems) for case in CASES)


def test_a_stale_schema_for_editors_is_told(settings: Settings, edit: Edit) -> None:
    edit(EDITOR_SCHEMA, '"append"', '"appendix"')
    assert told(settings) == [(EDITOR_SCHEMA, 0, "is not current")]


# A dbt project that dbt cannot parse

UNPARSED = [
    (
        "model that is not there",
        (SQL, "select * from newest", "select *\nfrom {{ ref('int_shopify__order') }}"),
        (SQL, 45, "depends on a node named 'int_shopify__order' which was not found"),
    ),
    (
        "broken Jinja",
        (SQL, "select * from newest", "select * from {{ newest( }}"),
        (SQL, 44, "unexpected '}', expected ')'"),
    ),
    (
        "broken YAML",
        (YAML, "version: 2", "version: [2"),
        (YAML, 3, "Syntax error near line 3"),
    ),
    (
        "source that is declared twice",
        (SOURCE, "      - name: orders", "      - name: customers"),
        (f"{MODELS}/_shopify__customers__source.yml", 0, "found two sources with the name"),
    ),
]


@pytest.mark.parametrize(
    ("change", "expected"), [case[1:] for case in UNPARSED], ids=[case[0] for case in UNPARSED]
)
def test_what_dbt_cannot_parse_is_one_problem_beside_the_others(
    settings: Settings, edit: Edit, change: tuple[str, str, str], expected: Told
) -> None:
    edit(*change)
    edit("include/streams/shopify/customers.json", '"selected": true,', "oops")
    edit("include/landing/klaviyo/stg_klaviyo__lists.sql", "VARCHAR", "TEXT")
    found = told(settings)
    assert len(found) == 3, found
    (dbt,) = (problem for problem in found if problem[2].startswith("dbt cannot parse the project"))
    assert dbt[:2] == expected[:2]
    assert expected[2] in dbt[2]
    assert len(dbt[2]) < 400


# Several things wrong


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
        (SOURCE, "declares shopify.orders, which is not a stream"),
        (SQL, "is tagged shopify__orders, which is not a stream"),
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


@pytest.mark.parametrize(
    ("namespace", "name"),
    [("shopify", "orders"), ("shopify/orders", "old"), ("shopify/orders/year=2026", "month=03")],
)
def test_files_that_another_stream_would_feed_are_told(
    settings: Settings, edit: Edit, namespace: str, name: str
) -> None:
    edit(
        "include/streams/klaviyo/events.json",
        '"sync_mode"',
        f'"namespace": "{namespace}", "stream_name": "{name}", "sync_mode"',
    )
    messages = [message for file, _, message in told(settings) if file.endswith("s.json")]
    assert len(messages) == 1
    assert "would be fed by include/streams/" in messages[0]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("${NAMESPACE}/${STREAM_NAME}/${YEAR}_${MONTH}_${DAY}_${EPOCH}_", 0),
        ("${STREAM_NAME}_${YEAR}_${MONTH}_", 0),
        ("${YEAR}/${MONTH}/${DAY}/${NAMESPACE}_${STREAM_NAME}/", 0),
        ("${NAMESPACE}/all_${STREAM_NAME}_{part_number}{format_extension}", 0),
    ],
)
def test_the_streams_can_have_any_path_format_that_tells_them_apart(
    settings: Settings, text: str, problems: int
) -> None:
    assert len(told(replace(settings, path_format=text))) == problems


@pytest.mark.parametrize(
    ("materialized", "unique_key", "problems"),
    [("table", True, 0), ("table", False, 0), ("incremental", True, 1), ("view", True, 1)],
)
def test_the_model_of_an_overwriting_stream_is_a_table(
    settings: Settings, edit: Edit, materialized: str, unique_key: bool, problems: int
) -> None:
    edit(ORDERS, '"destination_sync_mode": "append"', '"destination_sync_mode": "overwrite"')
    project = read_project(settings)
    made = [
        replace(model, materialized=materialized, unique_key=("order_id",) if unique_key else ())
        for model in project.models
    ]
    found = list(processed_models.overwritten(replace(project, models=tuple(made))))
    assert len(found) == problems
    assert all("its stream overwrites" in problem.message for problem in found)


def test_a_model_does_with_deletes_what_its_stream_says(settings: Settings, edit: Edit) -> None:
    edit(ORDERS, '"fields": {', '"fields": {"_ab_cdc_deleted_at": {"type": "string"},')
    project = read_project(settings)
    found = sorted(problem.message for problem in processed_models.deletes(project))
    assert [text.partition(" deletes")[0] for text in found] == [
        "does not distinguish",
        "has",
    ]
    made = [
        replace(model, deletes="hard", macros=model.macros | {"deleted_at"})
        for model in project.models
    ]
    assert list(processed_models.deletes(replace(project, models=tuple(made)))) == []


def test_a_model_follows_the_log_of_its_stream(settings: Settings, edit: Edit) -> None:
    edit(ORDERS, '"fields": {', '"fields": {"_ab_cdc_lsn": {"type": "number"},')
    project = read_project(settings)
    (problem,) = processed_models.logs(project)
    assert "but its stream has them follow _ab_cdc_lsn" in problem.message
    made = [replace(model, follows_log=True) for model in project.models]
    project = replace(project, models=tuple(made))
    problems = {problem.message for problem in processed_models.keys(project)}
    assert "CTE renamed has no column _log_position, which newest_wins needs" in problems
    assert "does not say where a version stands in the log" in {
        problem.message for problem in processed_models.logs(project)
    }
    made = [replace(model, macros=model.macros | {"log_position"}) for model in made]
    found = processed_models.logs(replace(project, models=tuple(made)))
    assert all("its stream has them follow no log" in problem.message for problem in found)


def test_a_stream_has_a_history_if_it_asks_for_one(settings: Settings, edit: Edit) -> None:
    project = read_project(settings)
    made = [replace(model, is_history=True, materialized="incremental") for model in project.models]
    as_histories = replace(project, models=tuple(made))
    assert {problem.message for problem in processed_models.histories(as_histories)} == {
        f"is a history, for which the config of {stream.id} does not ask"
        for stream in project.selected
    }
    assert any(
        "is the history of shopify__orders, but not named after it" in problem.message
        for problem in processed_models.every_model_has_a_stream(as_histories)
    )
    assert not list(processed_models.histories(project))
    edit(ORDERS, '"fields": {', '"history": true, "fields": {')
    (problem,) = processed_models.histories(read_project(settings))
    assert problem.file == settings.project_dir / ORDERS
    assert "asks for a history" in problem.message


def test_a_model_is_advised_to_carry_rescued_values(settings: Settings, edit: Edit) -> None:
    edit(SQL, "        _lake_rescued,\n", "")
    (found,) = find_problems(settings)
    assert found.is_advice
    assert (found.file, found.line) == (settings.project_dir / SQL, 40)
    assert found.hint == "add _lake_rescued to the columns of converted"
    assert project_files_fit_together(settings).state == "ok"
    # Nothing is rescued of a stream that refuses such files.
    edit(ORDERS, '"fields": {', '"feeder": {"on_type_change": "quarantine"}, "fields": {')
    assert find_problems(settings) == []


def test_a_check_can_be_added(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    added = Problem(settings.project_dir / "include" / "x.json", "is stale", "make it")
    monkeypatch.setattr(validation, "CHECKS", [*validation.CHECKS, lambda _: [added]])
    assert find_problems(settings) == [added]


@given(text=st.text(alphabet="{}[]()'\"#%,=:-\n aconfigtags", max_size=80))
def test_no_text_of_a_stream_breaks_the_checks(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    root = tmp_path_factory.mktemp("project")
    for name in ("streams/shop/orders.json", "sources/shop/orders.json"):
        path = root / "include" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    settings = Settings.from_env({"LAKE_PROJECT_DIR": str(root)})
    streams, problems = read_streams(settings)
    assert streams == ()
    broken = root / "include" / "streams" / "shop" / "orders.json"
    assert any(problem.file == broken for problem in problems)
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
