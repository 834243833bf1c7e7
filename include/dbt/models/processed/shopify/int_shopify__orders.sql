{{ config(unique_key='order_id', tags=['shopify__orders']) }}

with landed as not materialized (
    select * from {{ landed_rows('shopify', 'orders') }}
),

renamed as not materialized (
    select
        id as order_id,
        customer.id as customer_id,
        financial_status,
        fulfillment_status,
        cancel_reason,
        total_line_items_price::decimal(18, 4) as gross_sales,
        total_discounts::decimal(18, 4) as discounts,
        total_shipping_price_set.shop_money.amount::decimal(18, 4) as shipping,
        total_tax::decimal(18, 4) as taxes,
        test as is_test_order,
        created_at as order_date,
        updated_at as order_updated_at,
        cancelled_at,
        _airbyte_extracted_at,
        _airbyte_raw_id,
        {{ source_updated_at('updated_at') }} as _source_updated_at,
        _lake_snapshot_id,
        _lake_row_id
    from landed
),

newest as (
    {{ newest_wins('renamed', 'order_id') }}
)

select * from newest
