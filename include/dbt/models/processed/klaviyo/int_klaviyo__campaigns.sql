{{ config(unique_key='campaign_id', tags=['klaviyo__campaigns']) }}

with landed as not materialized (
    select * from {{ landed_rows('klaviyo', 'campaigns') }}
),

renamed as not materialized (
    select
        id as campaign_id,
        attributes.name as campaign_name,
        attributes.status,
        attributes.channel,
        attributes.archived as is_archived,
        attributes.created_at,
        attributes.updated_at,
        attributes.scheduled_at,
        attributes.send_time,
        _airbyte_extracted_at,
        _airbyte_raw_id,
        {{ source_updated_at('landed.updated_at') }} as _source_updated_at,
        _lake_rescued,
        _lake_snapshot_id,
        _lake_row_id
    from landed
),

newest as (
    {{ newest_wins('renamed', 'campaign_id') }}
)

select * from newest
