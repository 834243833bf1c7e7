{{ config(unique_key=['o_orderkey'], tags=['tpch__orders']) }}

{{ newest_rows('orders', decimals=['o_totalprice'], integers=['o_shippriority']) }}
