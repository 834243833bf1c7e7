{#
    Refunds that fct_sales does not count, because it lacks their order. Only a warning: the two
    streams are synced separately, so a refund can land before its order.
#}
{{ config(severity='warn') }}

with refunds as (
    select * from {{ ref('int_shopify__order_refunds') }}
),

sales as (
    select * from {{ ref('fct_sales') }}
),

orphaned as (
    select
        refunds.refund_id,
        refunds.order_id,
        refunds.returns
    from refunds
    anti join sales on refunds.order_id = sales.order_id
)

select * from orphaned
