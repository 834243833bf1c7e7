{{ config(unique_key='list_id', tags=['klaviyo__lists']) }}

with landed as not materialized (
    select * from {{ landed_rows('klaviyo', 'lists') }}
),

renamed as not materialized (
    select
        id as list_id,
        attributes.name as list_name,
        attributes.opt_in_process,
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
    {{ newest_wins('renamed', 'list_id') }}
)

select * from newest
