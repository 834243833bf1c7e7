"""What the text of a model tells: calls of macros, and columns of a CTE."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_lake.validation.macro_calls import Call, config_line, listed_columns, macro_calls

MODEL = """\
{{ config(tags=['x']) }}

with landed as not materialized (
    select * from {{ landed_rows('a', 'b') }}
),

renamed as not materialized (
    COLUMNS
),

newest as (
    {{ newest_wins('renamed', 'one') }}
)

select * from newest
"""


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ("select one, landed.two, three.four, 5 as five from landed",
         {"one", "two", "four", "five"}),
        ("select one as {{ name }}_id from landed", None),
        ("select one, -- a) of the sync\n two from landed", {"one", "two"}),
        ("select replace(note, ')', '--') as note, /* ) */ Two from landed", {"note", "two"}),
        ("select {{ source_updated_at('at') }} as at from landed", {"at"}),
        ("select one from landed {% if is_incremental() %} where two > 1 {% endif %}", {"one"}),
        ("select {# two, #} one from landed union all select three from landed", {"one"}),
        ("select one, columns(*) from landed", None),
        ("select landed.* exclude (test) from landed", None),
        ("from landed", None),
        ("select {{ star('landed') }} from landed", None),
        ("select one, {% for c in columns %}{{ c }}, {% endfor %} from landed", None),
        ("{{ some_query() }}", None),
        ("select one from", None),
    ],
)  # fmt: skip
def test_only_columns_that_are_listed_by_name_are_known(
    columns: str, names: set[str] | None
) -> None:
    assert listed_columns(MODEL.replace("COLUMNS", columns), "renamed") == names


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("select * from renamed", {"one", "two"}),
        ("select *, 3 as three from renamed where one > 1", {"one", "two", "three"}),
        ("select * replace (one + 1 as one) from renamed", {"one", "two"}),
        ("{{ convert('renamed', {'two': 'date'}) }}", {"one", "two", "_lake_bad_values"}),
        ("{{ convert(rows='renamed', types=some_types()) }}", None),
        ("select * exclude (one) from renamed", None),
        ("select * rename (one as three) from renamed", None),
        ("select * from renamed cross join landed", None),
        ("select * from renamed, landed", None),
        ("select * from landed", None),
        ("select * from last", None),
    ],
)
def test_a_star_has_the_columns_of_the_one_cte_that_it_reads(
    query: str, names: set[str] | None
) -> None:
    code = MODEL.replace("COLUMNS", "select one, two from landed")
    code = code.replace("newest as (", f"last as (\n    {query}\n),\n\nnewest as (")
    assert listed_columns(code, "last") == names


def test_a_cte_that_is_not_there_lists_nothing() -> None:
    assert listed_columns(MODEL.replace("COLUMNS", "select 1 as one"), "other") is None


@pytest.mark.parametrize(
    ("code", "calls"),
    [
        ("{{ f('a', 'b') }}", [Call({"x": "a", "y": "b"}, 1)]),
        ("{{ f(y='b', x='a') }}", [Call({"x": "a", "y": "b"}, 1)]),
        (
            "\n{%- if f('a', y=1) -%} {{ g(f('c')) }} {% endif %}",
            [Call({"x": "a", "y": 1}, 2), Call({"x": "c"}, 2)],
        ),
        ("{# {{ f('a') }} #} {{ f(var('a')) }} {% do f('d') %}", [Call({"x": "d"}, 1)]),
        ("{{ a.f('a') }} {{ f( }}", []),
    ],
)
def test_calls_with_literal_arguments_are_found(code: str, calls: list[Call]) -> None:
    assert macro_calls(code, "f", "x", "y") == calls


def test_the_line_of_the_config_is_where_it_is_called() -> None:
    assert config_line("{#\n#}\n{{ config(\n  tags=var('x')) }}") == 3
    assert config_line("select 1") == 0


@given(text=st.text(alphabet="{}[]()'\"#%,=:-\n selectfromwitha*", max_size=80))
def test_no_text_of_a_model_breaks_it(text: str) -> None:
    listed_columns(MODEL.replace("COLUMNS", text), "renamed")
    listed_columns(text, "renamed")
    assert all(call.line > 0 for call in macro_calls(text, "a", "x"))
    assert config_line(text) >= 0
