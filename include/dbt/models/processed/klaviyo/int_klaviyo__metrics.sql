{{ config(unique_key='metric_id', tags=['klaviyo__metrics']) }}

with landed as not materialized (
    select * from {{ landed_rows('klaviyo', 'metrics') }}
),

renamed as not materialized (
    select
        id as metric_id,
        attributes.name as metric_name,
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
    {{ newest_wins('renamed', 'metric_id') }}
)

select * from newest
