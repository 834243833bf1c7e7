{{ config(unique_key='profile_id', tags=['klaviyo__profiles']) }}

with landed as not materialized (
    select * from {{ landed_rows('klaviyo', 'profiles') }}
),

renamed as not materialized (
    select
        id as profile_id,
        attributes.email,
        attributes.phone_number,
        attributes.first_name,
        attributes.last_name,
        attributes.location.city,
        attributes.location.region,
        attributes.location.country,
        attributes.location.zip as postal_code,
        attributes.predictive_analytics.total_clv,
        attributes.predictive_analytics.historic_clv,
        attributes.predictive_analytics.predicted_clv,
        attributes.predictive_analytics.churn_probability,
        attributes.predictive_analytics.average_order_value,
        attributes.predictive_analytics.historic_number_of_orders as historic_orders,
        attributes.created as created_at,
        attributes.updated as updated_at,
        attributes.last_event_date,
        _airbyte_extracted_at,
        _airbyte_raw_id,
        {{ source_updated_at('updated') }} as _source_updated_at,
        _lake_rescued,
        _lake_snapshot_id,
        _lake_row_id
    from landed
),

newest as (
    {{ newest_wins('renamed', 'profile_id') }}
)

select * from newest
