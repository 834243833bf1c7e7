{#
    A whole processed model of a TPC-H stream: the columns of the table, decimals and 32-bit
    integers cast back from what Airbyte made of them, in their newest version.
#}
{% macro newest_rows(stream_name, decimals=[], integers=[]) -%}
with landed as not materialized (
    select * from {{ landed_rows('tpch', stream_name) }}
),

typed as not materialized (
    select
        * exclude (updated_at, _airbyte_meta, _airbyte_generation_id, year, month, day)
        {%- if decimals or integers %}
        replace (
            {%- for column in decimals + integers %}
            {{ column }}::{{ 'decimal(15, 2)' if column in decimals else 'integer' }} as {{ column }}
            {{- ',' if not loop.last }}
            {%- endfor %}
        )
        {%- endif %},
        {{ source_updated_at('updated_at') }} as _source_updated_at
    from landed
),

newest as (
    {{ newest_wins('typed', config.get('unique_key') | join(', ')) }}
)

select * from newest
{%- endmacro %}
