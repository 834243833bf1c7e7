{{ config(unique_key=['s_suppkey'], tags=['tpch__supplier']) }}

{{ newest_rows('supplier', decimals=['s_acctbal'], integers=['s_nationkey']) }}
