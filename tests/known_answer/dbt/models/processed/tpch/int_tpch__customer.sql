{{ config(unique_key=['c_custkey'], tags=['tpch__customer']) }}

{{ newest_rows('customer', decimals=['c_acctbal'], integers=['c_nationkey']) }}
