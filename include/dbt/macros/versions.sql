{#
    The history of the records among `rows`, a relation or a CTE with `_lake_row_id`: one row per
    version, from the rows that have just arrived and, in an increment, from what the model's table
    has of the same records. The incremental strategy below puts it in the place of that. So the
    history depends on the set of rows that landed alone, whatever order they arrive in, and an
    increment costs what its records have of versions, not what the table has.

    Rows follow each other in the order of `newest_wins`. A row that tells nothing else than the one
    before it repeats that version: it is remembered in `_lake_repeats`, because a row that arrives
    late may come between the two. It does not matter if columns `apart_from` the record's own
    values differ, such as its place in a log.

    `valid_from` is when Airbyte read the version first, `source_valid_from` when the source changed
    the record, neither of them before that of the version before; `valid_to` and `source_valid_to`
    are those of the next one. Rows without the key, or a part of it, have no history.
#}
{% macro versions(rows, key, apart_from=[]) -%}
    {%- set keys = key.split(',') | map('trim') | list -%}
    {%- set by_key = keys | join(', ') -%}
    {%- set apart = columns_of_a_row().split(', ') + apart_from -%}
    with told as (
        select {{ rows }}.* exclude (_lake_row_id)
        from {{ rows }}
        where {{ keys | join(' is not null and ') }} is not null
        {{ known_versions(rows, keys, apart) }}
    ),

    -- Files may be read again, and may have landed twice.
    told_once as (
        select
            *,
            row(*columns(* exclude ({{ apart | join(', ') }}))) as _lake_values,
            {{ version('told') }} as _lake_order
        from told
        qualify row_number() over (
            partition by {{ by_key }}, {{ version('told') }} order by _lake_snapshot_id
        ) = 1
    ),

    compared as (
        select
            *,
            lag(_lake_values) over (partition by {{ by_key }} order by _lake_order)
            is distinct from _lake_values as _lake_is_first,
            count(*) over (partition by {{ by_key }}) as _lake_rows_told
        from told_once
    ),

    numbered as (
        select
            *,
            count_if(_lake_is_first) over (
                partition by {{ by_key }} order by _lake_order
            ) as _lake_number
        from compared
    ),

    repeats as (
        select
            {{ by_key }},
            _lake_number,
            list({{ row_of_a_version(apart) }} order by _lake_order) as _lake_repeats
        from numbered
        where not _lake_is_first
        group by {{ by_key }}, _lake_number
    ),

    -- A log that is read again from an earlier place may tell the beginning of a version last.
    timed as (
        select
            *,
            min(coalesce(_airbyte_extracted_at, 'epoch'::timestamptz)) over same as _lake_read_at,
            min(_source_changed_at) over same as _lake_changed_at
        from numbered
        window same as (partition by {{ by_key }}, _lake_number)
    ),

    begun as (
        select
            timed.* exclude (_lake_read_at, _lake_changed_at),
            repeats._lake_repeats,
            max(_lake_read_at) over in_order as valid_from,
            max(_lake_changed_at) over in_order as source_valid_from
        from timed
        left join repeats
            on {{ same_values(keys, 'timed', 'repeats') }}
                and timed._lake_number = repeats._lake_number
        where _lake_is_first
        window in_order as (
            partition by timed.{{ keys | join(', timed.') }} order by timed._lake_number
        )
    )

    select
        * exclude (
            {{ apart | join(', ') }}, _lake_values, _lake_order, _lake_is_first, _lake_number,
            _lake_rows_told, _lake_repeats, valid_from, source_valid_from
        ),
        {{ (apart_from + ['valid_from']) | join(', ') }},
        lead(valid_from) over in_order as valid_to,
        source_valid_from,
        lead(source_valid_from) over in_order as source_valid_to,
        lead(_lake_number) over in_order is null as is_current,
        {{ '_deleted_at is not null' if deletes() else 'false' }} as is_deleted,
        {{ columns_of_a_row() }},
        _lake_rows_told,
        _lake_repeats
    from begun
    window in_order as (partition by {{ by_key }} order by _lake_number)
{%- endmacro %}


{# The incremental strategy of histories: all versions of the records that arrived are replaced. #}
{% macro get_incremental_versions_sql(arguments) -%}
    delete from {{ arguments['target_relation'] }} as known
    using (select distinct {{ key_columns() }} from {{ arguments['temp_relation'] }}) as arrived
    where {{ same_values(key_columns().split(','), 'known', 'arrived') }};
    insert into {{ arguments['target_relation'] }} by name
        select * from {{ arguments['temp_relation'] }}
{%- endmacro %}


{# What differs between rows that tell the same version of a record. #}
{% macro columns_of_a_row() -%}
    _airbyte_extracted_at, _airbyte_raw_id, _source_updated_at, _source_changed_at, {# -#}
    {{ '_log_position, ' if follows_log() }}_lake_snapshot_id
{%- endmacro %}


{# The same of a row, as one value. #}
{% macro row_of_a_version(apart) -%}
    {%- set fields = [] -%}
    {%- for column in apart -%}{%- set _ = fields.append(column ~ " := " ~ column) -%}{%- endfor -%}
    struct_pack({{ fields | join(', ') }})
{%- endmacro %}


{#
    When the source changed a record, from a column that is a time or says one; NULL if it does not.
#}
{% macro source_changed_at(column) -%}
    try_cast({{ column }} as timestamptz)
{%- endmacro %}
