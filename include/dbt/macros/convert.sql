{#
    The rows of `rows`, a relation or a CTE, with some columns in other types. A value that its type
    cannot hold, such as NaN in a decimal, is one bad value and stops nothing: it becomes NULL, and
    `_lake_bad_values` says what it was, as JSON: {"taxes": "NaN is no decimal(18, 4)"}. That column
    is NULL in all other rows. The row remains the newest version of its record; the config
    `meta={'keep_out': ['taxes']}` keeps it out of the table instead (see kept_out.sql).
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
                            then left({{ column }}::varchar, 100) || ' is no {{ type }}'
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
    Post-hook: warns of what a run has merged without its values, so that it is seen in dbt's log
    and counted there. `lotus-lake balance --read` counts what the tables hold.
#}
{% macro warn_of_bad_rows() -%}
    {%- if execute and config.get('unique_key') -%}
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
