{#
    One row per key: the newest version among the rows read. The order is total, so that it does
    not matter how versions are spread over files and batches; `merge_update_condition` in
    dbt_project.yml compares the same columns with the rows that are there already.
#}
{% macro newest_wins(key) -%}
    qualify row_number() over (
        partition by {{ key }}
        order by _airbyte_extracted_at desc, _source_updated_at desc, _airbyte_raw_id desc
    ) = 1
{%- endmacro %}


{# The record's own time of change, as the second part of that order; never null. #}
{% macro source_updated_at(column) -%}
    coalesce({{ column }}, 'epoch'::timestamptz)
{%- endmacro %}
