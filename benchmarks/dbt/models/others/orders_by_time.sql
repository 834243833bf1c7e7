{{ config(
    materialized='incremental', incremental_strategy='merge', unique_key='order_id',
    pre_hook='{{ begin_to_keep_out() }}',
) }}

{%- set rows %}
    (
        select *, 0 as _lake_snapshot_id, rowid as _lake_row_id from {{ source('shop', 'orders') }}
        where year is not null
        {% if is_incremental() %}
            and _airbyte_extracted_at > (select max(_airbyte_extracted_at) from {{ this }})
        {% endif %}
    )
{%- endset %}

{{ shop_orders(rows) }}
