{{ config(unique_key=['l_orderkey', 'l_linenumber'], tags=['tpch__lineitem']) }}

{{ newest_rows('lineitem', decimals=['l_quantity', 'l_extendedprice', 'l_discount', 'l_tax']) }}
