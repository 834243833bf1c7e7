{#
    One row per key: the newest version among `rows`, a relation or a CTE with `_lake_row_id`. The
    order is total, so that it does not matter how versions are spread over files and batches;
    `merge_update_condition` in dbt_project.yml compares the same columns with the rows that are
    there already. An increment also leaves out what is older than a version that was kept out of
    the table (see kept_out.sql). Rows without the key, or a part of it, are all left as they are.

    Older versions are looked for in the key and the columns of the order alone, and only among
    keys that occur more than once, so that whole rows are neither sorted nor kept in memory.
    For that the CTEs that lead to `rows` are `not materialized`: each step reads only the columns
    that it needs.
#}
{% macro newest_wins(rows, key) -%}
    {%- set columns = key.split(',') | map('trim') | list -%}
    select {{ rows }}.* exclude (_lake_row_id)
    from {{ rows }}
    anti join (
        select {{ rows }}._lake_row_id, {{ columns | join(', ') }}
        from {{ rows }}
        semi join (
            select {{ columns | join(', ') }}
            from {{ rows }}
            group by {{ columns | join(', ') }}
            having count(*) > 1
        ) as repeated
            on {{ same_values(columns, rows, 'repeated') }}
        qualify row_number() over (
            partition by {{ columns | join(', ') }}
            order by
                _airbyte_extracted_at desc nulls last, _source_updated_at desc,
                _airbyte_raw_id desc nulls last, _lake_row_id desc
        ) > 1
    ) as older
        on {{ rows }}._lake_row_id = older._lake_row_id and {{ same_values(columns, rows, 'older') }}
    {{ unless_kept_out_is_newer(rows, columns) }}
{%- endmacro %}


{# What the order of versions compares. #}
{% macro version(relation) -%}
    (
        coalesce({{ relation }}._airbyte_extracted_at, 'epoch'::timestamptz),
        {{ relation }}._source_updated_at, coalesce({{ relation }}._airbyte_raw_id, '')
    )
{%- endmacro %}


{# That two relations have the same values, none of them NULL, in some columns. #}
{% macro same_values(columns, one, other) -%}
    {%- for column in columns -%}
        {{ one }}.{{ column | trim }} = {{ other }}.{{ column | trim }}
        {{- ' and ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}


{# The record's own time of change, as the second part of that order; never null. #}
{% macro source_updated_at(column) -%}
    coalesce({{ column }}, 'epoch'::timestamptz)
{%- endmacro %}


{# A cursor that is a date, as a time; NULL for a year outside the calendar. #}
{% macro date_as_time(column) -%}
    case when year({{ column }}) between 1 and 9999 then {{ column }} end::timestamptz
{%- endmacro %}


{#
    A cursor that is a number, as a time in the same order: seconds since 1970 up to the year 5138,
    beyond that microseconds, because a position in a log is not a time. Any number gives a time.
#}
{% macro number_as_time(column) -%}
    make_timestamptz(case
        when isnan({{ column }}::double) then 0
        when abs({{ column }}::double) < 1e11 then ({{ column }} * 1e6)::bigint
        else (
            greatest(-9e18::hugeint, least(9e18::hugeint, coalesce(
                try_cast({{ column }} as hugeint), sign({{ column }})::hugeint * 9e18::hugeint
            ))) + sign({{ column }})::hugeint * 1e17::hugeint
        )::bigint
    end)
{%- endmacro %}


{#
    A cursor that is text, as text in the order of what it says: times by the instant, whole numbers
    by their value, any other text as it is. Never null.
#}
{% macro text_version(column) -%}
    coalesce(
        strftime(try_cast({{ column }} as timestamptz), '%Y-%m-%dT%H:%M:%S.%f'),
        case when regexp_full_match({{ column }}, '[0-9]{1,40}') then lpad({{ column }}, 40, '0') end,
        {{ column }}, ''
    )
{%- endmacro %}
