{#
    The newest version of a record can be one that readers must not see: it says that the record
    was deleted, it lacks the key, or it has a bad value in a column that `meta={'keep_out': [...]}`
    of the model names. A post-hook takes it out of the model's table, in the transaction that
    merged it, and remembers it in `meta.kept_out_{model}`. There it remains the newest:
    `newest_wins` leaves out what is older and arrives later, however late, and a newer version
    takes its place. So the order of arrival does not matter here either, and the files of both may
    be retired.
#}
{% macro keep_out() -%}
    {%- if keeps_out() -%}
        {{ create_kept_out() }}
        delete from {{ kept_out() }} as kept_out
        where
            exists (
                select 1 from {{ this }} as merged
                where
                    merged._lake_snapshot_id > getvariable('landed_from')
                    and {{ same_values(key_columns().split(','), 'merged', 'kept_out') }}
            )
            -- Rows without a key are read again together with all others of their window.
            or (_lake_reason = 'no key' and _lake_snapshot_id > getvariable('landed_from'));
        insert into {{ kept_out() }} by name
            select {{ kept_out_columns() }}, {{ keep_out_reason() }} as _lake_reason
            from {{ this }}
            where {{ is_kept_out() }};
        delete from {{ this }} where {{ is_kept_out() }};
    {%- endif -%}
{%- endmacro %}


{# Pre-hook: an increment needs the table of what was kept out; a model that is rebuilt drops it. #}
{% macro begin_to_keep_out() -%}
    {%- if keeps_out() and is_incremental() -%}
        {{ create_kept_out() }}
    {%- elif keeps_out() -%}
        drop table if exists {{ kept_out() }};
    {%- endif -%}
{%- endmacro %}


{# Whether the model keeps versions out: a history has all, and without a key there are none. #}
{% macro keeps_out() -%}
    {{ 'yes' if config.get('unique_key') and config.get('incremental_strategy') != 'versions' }}
{%- endmacro %}


{% macro unless_kept_out_is_newer(rows, columns) -%}
    {%- if model.resource_type != 'unit_test' and is_incremental() -%}
        anti join {{ kept_out() }} as kept_out
            on {{ version(rows) }} < {{ version('kept_out') }}
                and {{ same_values(columns, rows, 'kept_out') }}
    {%- endif -%}
{%- endmacro %}


{% macro create_kept_out() -%}
    create table if not exists {{ kept_out() }} as
        select {{ kept_out_columns() }}, null::varchar as _lake_reason from {{ this }} where false;
    {%- if follows_log() %}
    alter table {{ kept_out() }} add column if not exists _log_position varchar;
    {%- endif %}
{%- endmacro %}


{% macro kept_out() -%}
    {{ this.database }}.meta.kept_out_{{ this.identifier }}
{%- endmacro %}


{% macro kept_out_columns() -%}
    {%- if key_columns() != '_airbyte_raw_id' %}{{ key_columns() }}, {% endif -%}
    _airbyte_extracted_at, _source_updated_at, _airbyte_raw_id, _lake_snapshot_id
    {{- ', _log_position' if follows_log() }}
{%- endmacro %}


{# Why a version is not for readers; NULL if it is. #}
{% macro keep_out_reason() -%}
    {%- set lacks_key = key_columns().split(',') | join(' is null or ') ~ ' is null' -%}
    {%- set reasons = ["when " ~ lacks_key ~ " then 'no key'"] -%}
    {%- if deletes() == 'hard' -%}
        {%- set _ = reasons.append("when _deleted_at is not null then 'deleted'") -%}
    {%- endif -%}
    {%- for column in (config.get('meta') or {}).get('keep_out', []) -%}
        {%- set exists = "json_exists(_lake_bad_values, '$." ~ column ~ "')" -%}
        {%- set _ = reasons.append("when " ~ exists ~ " then 'bad value: ' || _lake_bad_values") -%}
    {%- endfor -%}
    case {{ reasons | join(' ') }} end
{%- endmacro %}


{% macro is_kept_out() -%}
    {{ keep_out_reason() }} is not null and _lake_snapshot_id > getvariable('landed_from')
{%- endmacro %}


{% macro key_columns() -%}
    {%- set key = config.get('unique_key') -%}
    {{ key if key is string else key | join(', ') }}
{%- endmacro %}


{#
    What the model does with the deletes of its stream: `hard`, `soft`, `ignore`, or nothing if the
    stream reports none. `lotus-lake validate` checks that the stream config says the same.
#}
{% macro deletes() -%}
    {{ (config.get('meta') or {}).get('deletes', '') }}
{%- endmacro %}


{#
    Whether the model orders versions by their place in the source's log before anything else:
    `meta={'order': 'log'}`. `lotus-lake validate` checks that the stream has such a log.
#}
{% macro follows_log() -%}
    {{ 'yes' if (config.get('meta') or {}).get('order') == 'log' }}
{%- endmacro %}


{# When a record was deleted, from the change log; NULL for a version that is not a delete. #}
{% macro deleted_at(column) -%}
    case
        when {{ column }} is not null
            then coalesce(try_cast({{ column }} as timestamptz), 'epoch'::timestamptz)
    end
{%- endmacro %}
