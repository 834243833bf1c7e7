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
        total_line_items_price as gross_sales,
        total_discounts as discounts,
        total_shipping_price_set.shop_money.amount as shipping,
        total_tax as taxes,
        test as is_test_order,
        created_at as order_date,
        updated_at as order_updated_at,
        cancelled_at,
        _airbyte_extracted_at,
        _airbyte_raw_id,
        {{ source_updated_at('updated_at') }} as _source_updated_at,
        _lake_rescued,
        _lake_snapshot_id,
        _lake_row_id
    from landed
),

converted as not materialized (
    {{ convert('renamed', {
        'gross_sales': 'decimal(18, 4)',
        'discounts': 'decimal(18, 4)',
        'shipping': 'decimal(18, 4)',
        'taxes': 'decimal(18, 4)',
    }) }}
),

newest as (
    {{ newest_wins('converted', 'order_id') }}
)

select * from newest
