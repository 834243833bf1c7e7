{{ config(unique_key=['p_partkey'], tags=['tpch__part']) }}

{{ newest_rows('part', decimals=['p_retailprice'], integers=['p_size']) }}
