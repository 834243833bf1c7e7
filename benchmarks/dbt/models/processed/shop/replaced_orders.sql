{{ config(unique_key='order_id', incremental_strategy='delete+insert') }}

{{ shop_orders(landed_rows('shop', 'orders')) }}
