{# The model of the benchmarks' stream over some rows of its landing table; one row per order. #}
{% macro shop_orders(rows) -%}
with renamed as not materialized (
    select
        id as order_id,
        customer_id,
        status,
        note,
        amount::decimal(18, 4) as amount,
        updated_at as order_updated_at,
        _airbyte_extracted_at,
        _airbyte_raw_id,
        {{ source_updated_at('updated_at') }} as _source_updated_at,
        _lake_snapshot_id,
        _lake_row_id
    from {{ rows }}
),

newest as (
    {{ newest_wins('renamed', 'order_id') }}
)

select * from newest
{%- endmacro %}
