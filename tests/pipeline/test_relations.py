"""What dbt is told of a schema's tables and views is what its adapter's own query finds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from tests.catalogs import on_sqlite
from tests.pipeline.driver import DBT_DIR, Pipeline

# `dbt.` holds the adapter's own macros. The differences are the rows of the test.
COMPARED = """\
{% if execute %}
    {% for statement in [
        'create table lakehouse.main.plain as select 1 as id',
        'create table lakehouse.main."Odd ""name"" é" as select 1 as id',
        'create table lakehouse.main.gone as select 1 as id',
        'create view lakehouse.main.broken as select id from lakehouse.main.gone',
        'create view lakehouse.main."View" as select id from lakehouse.main.plain',
        'create table lakehouse.main.dropped as select 1 as id',
        'create schema lakehouse."Other"',
        'create table lakehouse."Other".plain as select 1 as id',
        'create view memory.main.fresh as select 1 as id',
        'create temporary table passing as select 1 as id',
        'create temporary view passing_view as select 1 as id',
        'drop table lakehouse.main.gone',
    ] %}{% do run_query(statement) %}{% endfor %}
    {% call statement('begin') %}select 1{% endcall %}
    {% for statement in [
        'create table lakehouse.main.uncommitted as select 1 as id',
        'create view lakehouse.main.uncommitted_view as select 1 as id',
        'drop table lakehouse.main.dropped',
        'alter table lakehouse.main.plain rename to renamed',
    ] %}{% do run_query(statement) %}{% endfor %}
{% endif %}
{% for database, schema, expected in [
    ('lakehouse', 'main', 6), ('LAKEHOUSE', 'MAIN', 6), ('lakehouse', 'other', 1),
    ('lakehouse', 'nowhere', 0), ('memory', 'main', 1), ('temp', 'main', 2), ('system', 'main', 0),
] %}
    {% set found = {'ours': [], 'adapters': []} %}
    {% if execute %}
        {% set schema_relation = api.Relation.create(database=database, schema=schema) %}
        {% for row in duckdb__list_relations_without_caching(schema_relation).rows %}
            {% do found.ours.append(row.values() | list | string) %}
        {% endfor %}
        {% for row in dbt.duckdb__list_relations_without_caching(schema_relation).rows %}
            {% do found.adapters.append(row.values() | list | string) %}
        {% endfor %}
        {% do log(database ~ '.' ~ schema ~ ': ' ~ found.ours | sort | join('; '), info=true) %}
    {% endif %}
    select '{{ database }}.{{ schema }}' as different
    where {{ found.ours | sort != found.adapters | sort }}
    or {{ found.ours | length }} != {{ expected }}
    {{ 'union all' if not loop.last }}
{% endfor %}
{% if execute %}{% do run_query('rollback') %}{% do run_query('begin') %}{% endif %}
"""


@on_sqlite
def test_dbt_finds_the_relations_that_its_adapter_finds(pipeline: Pipeline, tmp_path: Path) -> None:
    own = shutil.ignore_patterns("models", "tests", "target", "logs")
    project = Path(shutil.copytree(DBT_DIR, tmp_path / "dbt", ignore=own))
    (project / "tests").mkdir()
    (project / "tests" / "same_relations.sql").write_text(COMPARED)
    shutil.rmtree(pipeline.target)
    said = replace(pipeline, dbt_dir=project).dbt("test", "same_relations")
    assert "PASS=1" in said
