with orders as (
    select * from {{ ref('int_shopify__orders') }}
),

refunds as (
    select * from {{ ref('int_shopify__order_refunds') }}
),

refunded as (
    select
        order_id,
        sum(returns) as returns
    from refunds
    group by order_id
),

measured as (
    select
        orders.order_id,
        orders.financial_status,
        orders.fulfillment_status,
        orders.cancel_reason,
        coalesce(orders.gross_sales, 0) as gross_sales,
        coalesce(orders.discounts, 0) as discounts,
        coalesce(refunded.returns, 0) as returns,
        coalesce(orders.shipping, 0) as shipping,
        coalesce(orders.taxes, 0) as taxes,
        orders.is_test_order,
        orders.order_date,
        orders.cancelled_at
    from orders
    left join refunded on orders.order_id = refunded.order_id
),

-- Sums of decimals grow wider than the contract allows.
totalled as (
    select
        order_id,
        financial_status,
        fulfillment_status,
        cancel_reason,
        gross_sales,
        discounts,
        returns::decimal(18, 4) as returns,
        (gross_sales - discounts - returns)::decimal(18, 4) as net_sales,
        shipping,
        taxes,
        (gross_sales - discounts - returns + shipping + taxes)::decimal(18, 4) as total_sales,
        is_test_order,
        order_date,
        cancelled_at
    from measured
)

select * from totalled
