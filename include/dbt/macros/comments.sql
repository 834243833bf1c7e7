{#
    Descriptions of tables and columns are comments in the lake (`persist_docs`), written in the
    transaction that builds the table. These take the place of dbt's own macros, which write every
    comment in every run: DuckLake keeps each of them, and takes the table for altered, so that a
    merge would conflict with compaction. Here only what differs from what is there is written.
#}
{% macro duckdb__alter_relation_comment(relation, comment) -%}
    {%- set query -%}
        select memory.main.lake_comment('{{ relation.schema }}', '{{ relation.identifier }}')
    {%- endset -%}
    {#- A table that is built anew takes the place of the one that has the committed comment. -#}
    {%- if not is_incremental() or run_query(query).rows[0][0] != comment -%}
        comment on {{ relation.type }} {{ relation }} is {{ duckdb_escape_comment(comment) }};
    {%- else -%}
        select 1
    {%- endif -%}
{%- endmacro %}


{% macro duckdb__alter_column_comment(relation, column_dict) -%}
    {%- set query -%}
        select column_name, comment from duckdb_columns() where {{ is_relation(relation) }}
    {%- endset -%}
    {%- set present = {} -%}
    {%- for name, comment in run_query(query).rows -%}
        {%- do present.update({name | lower: comment}) -%}
    {%- endfor -%}
    {%- for name, column in column_dict.items()
        if column.description and present.get(name | lower, '') != column.description %}
        comment on column {{ relation }}.{{ adapter.quote(name) }}
            is {{ duckdb_escape_comment(column.description) }};
    {%- endfor -%}
{%- endmacro %}


{% macro is_relation(relation) -%}
    database_name = '{{ relation.database }}' and schema_name = '{{ relation.schema }}'
    and table_name = '{{ relation.identifier }}'
{%- endmacro %}
