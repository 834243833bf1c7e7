{{ config(unique_key='customer_id', tags=['shopify__customers']) }}

with landed as not materialized (
    select * from {{ landed_rows('shopify', 'customers') }}
),

renamed as not materialized (
    select
        id as customer_id,
        email,
        first_name,
        last_name,
        tags,
        state as customer_state,
        orders_count,
        total_spent,
        created_at as customer_created_at,
        updated_at as customer_updated_at,
        _airbyte_extracted_at,
        _airbyte_raw_id,
        {{ source_updated_at('updated_at') }} as _source_updated_at,
        _lake_rescued,
        _lake_snapshot_id,
        _lake_row_id
    from landed
),

converted as not materialized (
    {{ convert('renamed', {'total_spent': 'decimal(18, 4)'}) }}
),

newest as (
    {{ newest_wins('converted', 'customer_id') }}
)

select * from newest
