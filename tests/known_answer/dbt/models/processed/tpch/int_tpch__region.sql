{{ config(unique_key=['r_regionkey'], tags=['tpch__region']) }}

{{ newest_rows('region', integers=['r_regionkey']) }}
