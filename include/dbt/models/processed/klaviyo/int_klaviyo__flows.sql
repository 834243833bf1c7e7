{{ config(unique_key='flow_id', tags=['klaviyo__flows']) }}

with landed as not materialized (
    select * from {{ landed_rows('klaviyo', 'flows') }}
),

renamed as not materialized (
    select
        id as flow_id,
        attributes.name as flow_name,
        attributes.status,
        attributes.trigger_type,
        attributes.archived as is_archived,
        attributes.created as created_at,
        attributes.updated as updated_at,
        _airbyte_extracted_at,
        _airbyte_raw_id,
        {{ source_updated_at('updated') }} as _source_updated_at,
        _lake_rescued,
        _lake_snapshot_id,
        _lake_row_id
    from landed
),

newest as (
    {{ newest_wins('renamed', 'flow_id') }}
)

select * from newest
