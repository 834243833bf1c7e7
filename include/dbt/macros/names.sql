{#
    A model's table is `main.{name of the model}`. Watermarks, assets, status, rebuild and rewind
    find it by that name, and no two models of a project share one. So an alias, a schema and a
    database of its own have no effect on a model, and `lotus-lake validate` says so.
#}
{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
    {%- if node.resource_type == 'model' and not node.version -%}
        {{ return(node.name) }}
    {%- endif -%}
    {{ return(default__generate_alias_name(custom_alias_name, node)) }}
{%- endmacro %}


{% macro generate_schema_name(custom_schema_name=none, node=none) -%}
    {%- if node.resource_type == 'model' -%}{{ return(target.schema) }}{%- endif -%}
    {{ return(default__generate_schema_name(custom_schema_name, node)) }}
{%- endmacro %}


{% macro generate_database_name(custom_database_name=none, node=none) -%}
    {%- if node.resource_type == 'model' -%}{{ return(target.database) }}{%- endif -%}
    {{ return(default__generate_database_name(custom_database_name, node)) }}
{%- endmacro %}
