{{ config(unique_key='event_id', tags=['klaviyo__events']) }}

with landed as not materialized (
    select * from {{ landed_rows('klaviyo', 'events') }}
),

renamed as not materialized (
    select
        id as event_id,
        relationships.profile.data.id as profile_id,
        relationships.metric.data.id as metric_id,
        attributes.uuid as event_uuid,
        attributes.event_properties as properties,
        attributes.timestamp as event_timestamp,
        attributes.datetime as event_datetime,
        _airbyte_extracted_at,
        _airbyte_raw_id,
        {{ source_updated_at('datetime') }} as _source_updated_at,
        _lake_rescued,
        _lake_snapshot_id,
        _lake_row_id
    from landed
),

newest as (
    {{ newest_wins('renamed', 'event_id') }}
)

select * from newest
