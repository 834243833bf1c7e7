{#
    One row per key: the newest version among `rows`, a relation or a CTE with `_lake_row_id`. The
    order is total, so that it does not matter how versions are spread over files and batches; the
    incremental strategy below compares the same columns with the rows that are there already. An
    increment also leaves out what is older than a version that was kept out of
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
                {% if follows_log() %}_log_position desc nulls last,{% endif %}
                _airbyte_extracted_at desc nulls last, _source_updated_at desc,
                _airbyte_raw_id desc nulls last, _lake_row_id desc
        ) > 1
    ) as older
        on {{ rows }}._lake_row_id = older._lake_row_id and {{ same_values(columns, rows, 'older') }}
    {{ unless_kept_out_is_newer(rows, columns) }}
{%- endmacro %}


{#
    The incremental strategy of processed models: a version takes the place of the row of its key if
    it is newer, in whatever order they arrive.
#}
{% macro get_incremental_newest_wins_sql(arguments) -%}
    merge into {{ arguments['target_relation'] }} as merged
    using {{ arguments['temp_relation'] }} as arrived
        on {{ same_values(key_columns().split(','), 'merged', 'arrived') }}
    when matched and {{ version('arrived') }} > {{ version('merged') }} then update by name
    when not matched then insert by name
{%- endmacro %}


{#
    What the order of versions compares. A row that does not say when it was extracted, as older
    destinations wrote them, is older than any that does.
#}
{% macro version(relation) -%}
    (
        {% if follows_log() %}coalesce({{ relation }}._log_position, ''),{% endif %}
        coalesce({{ relation }}._airbyte_extracted_at, 'epoch'::timestamptz),
        {{ relation }}._source_updated_at, coalesce({{ relation }}._airbyte_raw_id, '')
    )
{%- endmacro %}


{#
    Where a version stands in the log of its source, as text in that order: `columns` of the landing
    table say it, the most significant one first. Positions of two logs cannot be compared. So the
    generation comes first, which Airbyte raises when it reads everything again, and before that the
    number of `restarts`, times of extraction at which the log began anew, that the row comes after.
#}
{% macro log_position(columns, restarts=[]) -%}
    {%- set parts = ["lpad(coalesce(_airbyte_generation_id, 0)::varchar, 20, '0')"] -%}
    {%- for column in columns -%}{%- set _ = parts.append(place_in_log(column)) -%}{%- endfor -%}
    {%- set passed = [] -%}
    {%- for restart in restarts -%}
        {%- set after = "_airbyte_extracted_at >= '" ~ restart ~ "'::timestamptz" -%}
        {%- set _ = passed.append("coalesce(" ~ after ~ ", false)::integer") -%}
    {%- endfor -%}
    {%- if restarts -%}
        {%- set _ = parts.insert(0, "lpad((" ~ passed | join(' + ') ~ ")::varchar, 4, '0')") -%}
    {%- endif -%}
    concat_ws('/', {{ parts | join(', ') }})
{%- endmacro %}


{#
    A part of such a position as text in its order: a number; the number of a file of MySQL, whose
    digits grow; the hex of SQL Server, whose digits do not.
#}
{% macro place_in_log(column) -%}
    {%- set file = "regexp_extract(" ~ column ~ "::varchar, '[.]([0-9]{1,20})$', 1)" -%}
    coalesce(
        lpad(coalesce(try_cast({{ column }} as ubigint)::varchar, nullif({{ file }}, '')), 20, '0'),
        lower({{ column }}::varchar), ''
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
