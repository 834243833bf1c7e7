with touches as (
    select * from {{ ref('fct_campaign_touches') }}
),

campaigns as (
    select * from {{ ref('int_klaviyo__campaigns') }}
),

days as (
    select
        campaign_id,
        touched_date as performance_date,
        count(*) filter (where touch_type = 'event') as events_count,
        count(distinct profile_id) as active_profiles_count,
        count(order_id) as orders_count,
        sum(revenue)::decimal(18, 4) as revenue
    from touches
    where campaign_id is not null
    group by campaign_id, touched_date
),

named as (
    select
        days.campaign_id,
        campaigns.campaign_name,
        campaigns.channel,
        days.events_count,
        days.active_profiles_count,
        days.orders_count,
        days.revenue,
        days.performance_date
    from days
    inner join campaigns on days.campaign_id = campaigns.campaign_id
)

select * from named
