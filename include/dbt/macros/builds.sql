{#
    Pre-hook of every enriched model: notes what the table is built from, in the transaction that
    builds it, so that a run which would build the same table again can be skipped. The Dags say
    which SQL, macros and configuration these are (LAKE_FINGERPRINT); a build by hand does not, and
    the next run of the Dag builds the model again.
#}
{% macro note_build() -%}
    {#- Asked at parse time, dbt would parse the model again whenever the variable differs. -#}
    {%- set told = env_var('LAKE_FINGERPRINT', '') if execute else '' -%}
    {%- set is_told = told.startswith(this.identifier ~ ':') -%}
    create table if not exists {{ built() }} as
        select null::varchar as fingerprint, -1::bigint as read_snapshot_id, now() as built_at;
    update {{ built() }} set
        fingerprint = {{ dbt.string_literal(told) if is_told else 'null' }},
        read_snapshot_id = (select id from {{ this.database }}.current_snapshot()),
        built_at = now();
{%- endmacro %}


{% macro built() -%}
    {{ this.database }}.meta.built_{{ this.identifier }}
{%- endmacro %}
