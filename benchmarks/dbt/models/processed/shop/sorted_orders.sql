{{ config(unique_key='order_id', tags=['shop__orders']) }}

{{ shop_orders(landed_rows('shop', 'orders')) }}
