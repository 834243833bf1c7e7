{{ config(unique_key=['ps_partkey', 'ps_suppkey'], tags=['tpch__partsupp']) }}

{{ newest_rows('partsupp', decimals=['ps_supplycost']) }}
