{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='touch_id',
    on_schema_change='append_new_columns',
    pre_hook="{{ advance_inputs() }}",
) }}

with campaigns as (
    select * from {{ ref('int_klaviyo__campaigns') }}
),

events as (
    select * from {{ ref('int_klaviyo__events') }}
),

profiles as (
    select * from {{ ref('int_klaviyo__profiles') }}
),

orders as (
    select * from {{ ref('int_shopify__orders') }}
),

customers as (
    select * from {{ ref('int_shopify__customers') }}
),

-- Of campaigns that were sent at the same moment, one.
sent as (
    select
        campaign_id,
        send_time
    from campaigns
    where status = 'Sent' and send_time is not null
    qualify row_number() over (partition by send_time order by campaign_id) = 1
),

-- Klaviyo knows a customer by the address.
known_customers as (
    select
        customers.customer_id,
        min(profiles.profile_id) as profile_id
    from customers
    inner join profiles on lower(customers.email) = lower(profiles.email)
    group by customers.customer_id
),

touches as (
    select
        'event ' || event_id as touch_id,
        'event' as touch_type,
        profile_id,
        null::bigint as order_id,
        0::decimal(18, 4) as revenue,
        event_datetime as touched_at
    from events
    union all
    select
        'order ' || orders.order_id as touch_id,
        'order' as touch_type,
        known_customers.profile_id,
        orders.order_id,
        case
            when orders.is_test_order or orders.cancelled_at is not null then 0
            else coalesce(orders.gross_sales, 0) - coalesce(orders.discounts, 0)
        end::decimal(18, 4) as revenue,
        orders.order_date as touched_at
    from orders
    left join known_customers on orders.customer_id = known_customers.customer_id
),

{% if is_incremental() -%}
    changed_campaigns as (
        select campaign_id from campaigns
        where _lake_snapshot_id > {{ changed_since('int_klaviyo__campaigns') }}
    ),

    changed_profiles as (
        select
            profile_id,
            lower(email) as email
        from profiles
        where _lake_snapshot_id > {{ changed_since('int_klaviyo__profiles') }}
    ),

    changed_customers as (
        select customers.customer_id
        from customers
        left join changed_profiles on lower(customers.email) = changed_profiles.email
        where
            customers._lake_snapshot_id > {{ changed_since('int_shopify__customers') }}
            or changed_profiles.email is not null
    ),

    -- By what has changed itself, by who it is about, and by the campaign that it was or is after.
    changed as (
        select 'event ' || event_id as touch_id from events
        where _lake_snapshot_id > {{ changed_since('int_klaviyo__events') }}
        union
        select 'order ' || order_id as touch_id from orders
        where _lake_snapshot_id > {{ changed_since('int_shopify__orders') }}
        union
        select 'order ' || orders.order_id as touch_id
        from orders
        inner join changed_customers on orders.customer_id = changed_customers.customer_id
        union
        select built.touch_id
        from {{ this }} as built
        left join changed_campaigns on built.campaign_id = changed_campaigns.campaign_id
        left join changed_profiles on built.profile_id = changed_profiles.profile_id
        where changed_campaigns.campaign_id is not null or changed_profiles.profile_id is not null
        union
        select touches.touch_id
        from touches
        inner join sent
            on
                touches.touched_at >= sent.send_time
                and touches.touched_at < sent.send_time + interval 7 days
        inner join changed_campaigns on sent.campaign_id = changed_campaigns.campaign_id
    ),

{% endif -%}

chosen as (
    select touches.* from touches
    {% if is_incremental() -%}
        inner join changed on touches.touch_id = changed.touch_id
    {%- endif %}
),

-- The campaign that was sent last before it, within a week.
attributed as (
    select
        chosen.touch_id,
        case
            when chosen.touched_at < sent.send_time + interval 7 days then sent.campaign_id
        end as campaign_id,
        chosen.profile_id,
        chosen.order_id,
        chosen.touch_type,
        chosen.revenue,
        (chosen.touched_at at time zone 'UTC')::date as touched_date,
        chosen.touched_at
    from chosen
    asof left join sent on chosen.touched_at >= sent.send_time
)

select * from attributed
