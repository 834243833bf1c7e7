{#
    The rows of a landing table that the model has still to process, each with the id of the
    snapshot it landed in as `_lake_snapshot_id`, and as `_lake_row_id` with a number that no other
    row of the landing table has.

    A first run and a full refresh read the whole table. An increment reads the window that the
    pre-hook `advance_watermark` fixed in this very transaction, and opens only the files that
    landed in it. When the snapshot where the window starts has expired, the same rows are found
    by their snapshot id in the whole table.

    The row of NULLs with which a landing table begins is left out (see lake/column_statistics.py).

    A full refresh is refused when rows have been retired from the landing table: the records that
    only they held would be lost. So is a first run of a model whose watermark says that it has run
    before: its table was dropped or renamed.
#}
{% macro landed_rows(source_name, stream_name) -%}
    {%- set landing = source(source_name, stream_name) -%}
    {%- if model.resource_type == 'unit_test' -%}
        (
            select *, 0 as _lake_snapshot_id, row_number() over () as _lake_row_id
            from (
                from {{ landing }}
                -- Rows that a test gives need not have it.
                union all by name
                select null::{{ type_of_rescued() }} as _lake_rescued where false
            )
            where true {{ without_deletes() }}
        )
    {%- elif not (is_incremental() and flags.WHICH in ('build', 'run', 'retry')) -%}
        {{- refuse_to_lose_retired_rows(source_name, stream_name) -}}
        (
            select *, snapshot_id as _lake_snapshot_id, rowid as _lake_row_id
            from {{ landing }}
            where (rowid > 0 or year is not null) {{ without_deletes() }}
        )
    {%- elif window_start_exists() -%}
        (
            select *, snapshot_id as _lake_snapshot_id, rowid as _lake_row_id
            from ducklake_table_insertions(
                '{{ landing.database }}', '{{ landing.schema }}', '{{ landing.identifier }}',
                getvariable('landed_start'), getvariable('landed_to')
            )
            where snapshot_id > getvariable('landed_from') and (rowid > 0 or year is not null)
                {{ without_deletes() }}
        )
    {%- else -%}
        (
            select *, snapshot_id as _lake_snapshot_id, rowid as _lake_row_id
            from {{ landing }}
            where snapshot_id > getvariable('landed_from') and (rowid > 0 or year is not null)
                {{ without_deletes() }}
        )
    {%- endif -%}
{%- endmacro %}


{# Leaves out deletes where the model ignores them, so that the version before stays the newest. #}
{% macro without_deletes() -%}
    {%- if deletes() == 'ignore' -%}and _ab_cdc_deleted_at is null{%- endif -%}
{%- endmacro %}


{# The rows of the model's table, and those that they repeat, of records among `rows`. #}
{% macro known_versions(rows, keys, apart) -%}
    {%- if model.resource_type != 'unit_test' and is_incremental() -%}
        union all by name
        select
            known.* exclude (
                valid_from, valid_to, source_valid_from, source_valid_to, is_current, is_deleted,
                _lake_rows_told, _lake_repeats, {{ apart | join(', ') }}
            ),
            unnest(
                list_prepend({{ row_of_a_version(apart) }}, coalesce(known._lake_repeats, [])),
                max_depth := 2
            )
        from {{ this }} as known
        semi join {{ rows }} on {{ same_values(keys, rows, 'known') }}
    {%- endif -%}
{%- endmacro %}


{% macro refuse_to_lose_retired_rows(source_name, stream_name) -%}
    {%- if execute and flags.WHICH in ('build', 'run', 'retry')
        and not var('without_retired', false) and has_run_before() -%}
        {%- set query -%}
            select count(*), coalesce(sum(row_count), 0) from {{ this.database }}.meta.feeder_files
            where source = '{{ source_name }}' and stream = '{{ stream_name }}'
            and event = 'retired'
        {%- endset -%}
        {%- set files, rows = run_query(query).rows[0] -%}
        {%- if files -%}
            {{ exceptions.raise_compiler_error(
                this.identifier ~ " cannot be rebuilt from its landing table: " ~ files
                ~ " files with " ~ rows ~ " rows have been retired from it, and records that only "
                ~ "they held would be lost.\nhint: let Airbyte send everything again, or accept the "
                ~ "loss with --vars '{without_retired: true}'"
            ) }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{# Whether the model has a table, or had one: the watermark stays when the table is dropped. #}
{% macro has_run_before() -%}
    {%- if load_relation(this) is not none -%}{{ return(should_full_refresh()) }}{%- endif -%}
    {%- set mark = adapter.get_relation(this.database, 'meta', 'watermark_' ~ this.identifier) -%}
    {%- if mark is none -%}{{ return(false) }}{%- endif -%}
    {%- set found = run_query('select max(snapshot_id_to) from ' ~ watermark()) -%}
    {{ return(found.columns[0][0] > -1) }}
{%- endmacro %}


{#
    Pre-hook of every processed model: moves the model's watermark to the snapshot this
    transaction reads, and keeps the window (landed_from, landed_to] for `landed_rows`.

    The watermark is committed together with the rows, or not at all. Its row is updated by every
    run, so two runs of one model conflict and one of them fails instead of inserting twice.
#}
{% macro advance_watermark() -%}
    create table if not exists {{ watermark() }} as
        select -1::bigint as snapshot_id_from, -1::bigint as snapshot_id_to,
        now() as updated_at;
    update {{ watermark() }} set
        snapshot_id_from = {{ 'snapshot_id_to' if is_incremental() else '-1' }},
        snapshot_id_to = (select id from {{ this.database }}.current_snapshot()),
        updated_at = now();
    set variable landed_from = (select snapshot_id_from from {{ watermark() }});
    set variable landed_to = (select snapshot_id_to from {{ watermark() }});
    set variable landed_start = (
        select max(snapshot_id) from {{ this.database }}.snapshots()
        where snapshot_id <= getvariable('landed_from') + 1
    );
    {% if not is_incremental() or has_text_key() -%}
        set disabled_optimizers = 'join_filter_pushdown'
    {%- else -%}
        reset disabled_optimizers
    {%- endif %};
{%- endmacro %}


{#
    Whether a part of the key is text. DuckDB's join would ask DuckLake for the data files that can
    hold the new keys, which DuckLake writes into a query of the catalog: one with the character NUL
    ends the query, and every merge after it. A merge on text reads the key of all files instead
    (0.09 s for 2 million rows either way). A first run has no table to ask for the
    types, and does the same whatever the key (2.0 s instead of 1.9 for 2 million rows).
#}
{% macro has_text_key() -%}
    {%- set key = config.get('unique_key') or [] -%}
    {%- set names = [key] if key is string else key -%}
    {%- set found = namespace(text=false) -%}
    {%- for column in adapter.get_columns_in_relation(this) -%}
        {%- if column.is_string() and column.name | lower in names | map('lower') -%}
            {%- set found.text = true -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found.text) }}
{%- endmacro %}


{% macro watermark() -%}
    {{ this.database }}.meta.watermark_{{ this.identifier }}
{%- endmacro %}


{% macro window_start_exists() -%}
    {%- set query -%}
        select max(snapshot_id) from {{ this.database }}.snapshots()
        where snapshot_id <= (select max(snapshot_id_to) + 1 from {{ watermark() }})
    {%- endset -%}
    {{ return(run_query(query).columns[0][0] is not none) }}
{%- endmacro %}
