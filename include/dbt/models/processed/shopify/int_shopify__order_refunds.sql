{{ config(unique_key='refund_id', tags=['shopify__order_refunds']) }}

with landed as not materialized (
    select * from {{ landed_rows('shopify', 'order_refunds') }}
),

renamed as not materialized (
    select
        id as refund_id,
        order_id,
        -- An amount that is no number makes the sum none.
        coalesce(
            list_aggregate(
                list_transform(
                    transactions,
                    lambda payment: case
                        when payment.amount is not null
                            then coalesce(try_cast(payment.amount as double), 'nan'::double)
                    end
                ),
                'fsum'
            ),
            0
        ) as returns,
        created_at as refunded_at,
        _airbyte_extracted_at,
        _airbyte_raw_id,
        {{ source_updated_at('created_at') }} as _source_updated_at,
        _lake_rescued,
        _lake_snapshot_id,
        _lake_row_id
    from landed
),

converted as not materialized (
    {{ convert('renamed', {'returns': 'decimal(18, 4)'}) }}
),

newest as (
    {{ newest_wins('converted', 'refund_id') }}
)

select * from newest
