{{ config(incremental_strategy='versions', unique_key='order_id', tags=['shop__orders']) }}

with landed as not materialized (
    select * from {{ landed_rows('shop', 'orders') }}
),

renamed as not materialized (
    select
        id as order_id,
        customer_id,
        status,
        note,
        amount,
        updated_at as order_updated_at,
        _airbyte_extracted_at,
        _airbyte_raw_id,
        {{ source_updated_at('updated_at') }} as _source_updated_at,
        {{ source_changed_at('updated_at') }} as _source_changed_at,
        _lake_rescued,
        _lake_snapshot_id,
        _lake_row_id
    from landed
),

history as (
    {{ versions('renamed', 'order_id') }}
)

select * from history
