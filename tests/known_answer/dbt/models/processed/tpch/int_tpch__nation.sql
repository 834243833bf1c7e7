{{ config(unique_key=['n_nationkey'], tags=['tpch__nation']) }}

{{ newest_rows('nation', integers=['n_nationkey', 'n_regionkey']) }}
