{#
    The rows of `rows`, a relation or a CTE, with some columns in other types. A value that its type
    cannot hold, such as NaN in a decimal, does not fail the model: it becomes NULL, and
    `_lake_bad_values` says what it was, as JSON: {"taxes": "NaN is not a valid decimal(18, 4)"}; in
    all other rows that column is NULL. The row remains the newest version of its record, unless the
    config `meta={'keep_out': ['taxes']}` keeps it out of the table (see kept_out.sql).
#}
{% macro convert(rows, types) -%}
    select
        * replace (
            {%- for column, type in types.items() %}
            try_cast({{ column }} as {{ type }}) as {{ column }}
            {{- ',' if not loop.last }}
            {%- endfor %}
        ),
        case
            when
                {%- for column, type in types.items() %}
                {{ 'or ' if not loop.first }}{{ is_bad(column, type) }}
                {%- endfor %}
                then json_merge_patch('{}', json_object(
                    {%- for column, type in types.items() %}
                    '{{ column }}', case
                        when {{ is_bad(column, type) }}
                            then left({{ column }}::varchar, 100) || ' is not a valid {{ type }}'
                    end
                    {{- ',' if not loop.last }}
                    {%- endfor %}
                ))::varchar
        end as _lake_bad_values
    from {{ rows }}
{%- endmacro %}


{% macro is_bad(column, type) -%}
    ({{ column }} is not null and try_cast({{ column }} as {{ type }}) is null)
{%- endmacro %}


{#
    Post-hook: warns in dbt's log about rows that a run has kept out or merged without some of their
    values, with their number. `lotus-lake balance --read` counts what the tables hold.
#}
{% macro warn_of_bad_rows() -%}
    {%- if execute and keeps_out() -%}
        {%- set query -%}
            select split_part(_lake_reason, ':', 1) || ', kept out', count(*)
            from {{ kept_out() }}
            where _lake_reason <> 'deleted' and _lake_snapshot_id > getvariable('landed_from')
            group by all
            {%- set columns = adapter.get_columns_in_relation(this) | map(attribute='name') | list %}
            {%- if '_lake_bad_values' in columns %}
            union all
            select 'bad value, NULL in its place', count(*)
            from {{ this }}
            where _lake_bad_values is not null and _lake_snapshot_id > getvariable('landed_from')
            {%- endif %}
        {%- endset -%}
        {%- for reason, rows in run_query(query).rows if rows -%}
            {%- set _ = exceptions.warn(
                this.identifier ~ ': ' ~ rows ~ ' new rows with ' ~ reason
                ~ '; see _lake_bad_values of the table, and ' ~ kept_out()
            ) -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
