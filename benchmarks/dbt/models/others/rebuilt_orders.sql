{{ config(materialized='table') }}

{{ shop_orders("(select *, 0 as _lake_snapshot_id, rowid as _lake_row_id from " ~ source('shop', 'orders') ~ " where year is not null)") }}
