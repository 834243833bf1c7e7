{#
    What an incremental enriched model has still to read. Each processed model says up to which
    snapshot it has merged what landed (its watermark), and its rows say in which snapshot they
    landed (`_lake_snapshot_id`): whatever it merges later has landed later, even if it is about a
    day long past. So a row is new for an enriched model if it landed after the watermark that its
    input had when the model last read it. Times in the rows decide nothing.

    `advance_inputs` is the pre-hook of such a model; `changed_since` is that watermark. Both are of
    the transaction that merges: what a run reads is committed with what it has read, or not at all.
#}
{% macro advance_inputs() -%}
    create table if not exists {{ inputs() }} as
        select null::varchar as input, -1::bigint as snapshot_id_from,
        -1::bigint as snapshot_id_to, now() as updated_at
        where false;
    {% for id in model.depends_on.nodes if id.split('.') | first == 'model' -%}
    {%- set input = id.split('.') | last -%}
    insert into {{ inputs() }}
        select '{{ input }}', -1, -1, now()
        where '{{ input }}' not in (select input from {{ inputs() }});
    update {{ inputs() }} set
        snapshot_id_from = {{ 'snapshot_id_to' if is_incremental() else '-1' }},
        snapshot_id_to = (
            select snapshot_id_to from {{ this.database }}.meta.watermark_{{ input }}
        ),
        updated_at = now()
        where input = '{{ input }}';
    {% endfor %}
{%- endmacro %}


{% macro changed_since(input) -%}
    (select snapshot_id_from from {{ inputs() }} where input = '{{ input }}')
{%- endmacro %}


{% macro inputs() -%}
    {{ this.database }}.meta.inputs_{{ this.identifier }}
{%- endmacro %}
