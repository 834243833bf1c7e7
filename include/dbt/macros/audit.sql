{#
    Post-hook of every model: runs its tests inside the transaction that built it. When one fails,
    the transaction is rolled back, with the model's watermark, so that readers never see a version
    whose tests have not passed. Up to 100 of the rows that fail are kept in
    `meta.failed_rows_{model}`, with the test that they fail.

    These are the tests that `dbt build` runs with the model: those of severity `error` that read
    the model and, apart from it, only what the model is made of. dbt reports them afterwards, with
    the result found here. A test that also reads other models runs on what is published; a warning
    holds nothing back.
#}
{% macro audit() -%}
    {%- if execute and flags.WHICH in ('build', 'run', 'retry') -%}
        {%- set failed = [] -%}
        {%- for test in audited_tests() -%}
            {%- set sql = audited_sql(test) -%}
            {%- set query = get_test_sql(
                sql, test.config.fail_calc, test.config.warn_if, test.config.error_if, none
            ) -%}
            {%- set failures, should_warn, should_error = run_query(query).rows[0] -%}
            {%- do graph.nodes[test.unique_id].update({'audited_failures': failures}) -%}
            {%- if should_error -%}
                {%- set literal = dbt.string_literal(dbt.escape_single_quotes(test.name)) -%}
                {%- do failed.append({
                    'name': test.name, 'literal': literal, 'failures': failures, 'sql': sql
                }) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if failed -%}{{ refuse_to_publish(failed) }}{%- endif -%}
        {%- do run_query('drop table if exists ' ~ failed_rows()) -%}
    {%- endif -%}
{%- endmacro %}


{% macro audited_tests() -%}
    {%- set known = [model.unique_id] -%}
    {%- for id in known -%}
        {%- for parent in graph.nodes.get(id, {}).get('depends_on', {}).get('nodes', []) -%}
            {%- if parent not in known -%}{%- do known.append(parent) -%}{%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- set tests = [] -%}
    {%- for node in graph.nodes.values() if node.resource_type == 'test' -%}
        {%- set read = node.depends_on.nodes -%}
        {%- if model.unique_id in read and node.config.severity | upper == 'ERROR'
            and not read | reject('in', known) | list -%}
            {%- do tests.append(node) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(tests) }}
{%- endmacro %}


{# The SQL of a test, as dbt would compile it: with the test's settings and `ref`, not the model's. #}
{% macro audited_sql(test) -%}
    {%- set of_model = {'ref': context['ref'], 'config': context['config']} -%}
    {%- do context.update({'ref': context['ref_of_test']}) -%}
    {%- if test.test_metadata -%}
        {%- set arguments = {} -%}
        {%- for name, value in test.test_metadata.kwargs.items() -%}
            {%- set is_call = value is string and
                modules.re.match('\\s*(env_var|ref|var|source)\\s*\\(.+\\)\\s*$', value) -%}
            {%- do arguments.update({name: render('{{ ' ~ value ~ ' }}') if is_call else value}) -%}
        {%- endfor -%}
        {%- do context.update({'config': dict(test.config, store_failures=true)}) -%}
        {%- do arguments.update({'model': get_where_subquery(this)}) -%}
        {%- set namespace = test.test_metadata.namespace -%}
        {%- set macros = context[namespace] if namespace else context -%}
        {%- set sql = macros['test_' ~ test.test_metadata.name](**arguments) -%}
    {%- else -%}
        {%- set sql = render(test.raw_code) -%}
    {%- endif -%}
    {%- do context.update(of_model) -%}
    {{ return(get_limit_subquery_sql(sql, test.config.limit)) }}
{%- endmacro %}


{% macro ref_of_test() -%}
    {%- set name = varargs | last -%}
    {%- for node in graph.nodes.values()
        if node.name == name and node.resource_type in ('model', 'seed', 'snapshot') -%}
        {{ return(api.Relation.create(node.database, node.schema, node.alias)) }}
    {%- endfor -%}
{%- endmacro %}


{% macro refuse_to_publish(failed) -%}
    {# A variable outlives the transaction, and no value of a row passes through this text. #}
    {%- set query -%}
        set variable failed_rows = (
            select list(failed) from (
                {%- for test in failed %}
                select {{ test.literal }} as test, to_json(failing)::varchar as failed_row
                from (select * from ({{ test.sql }}) limit 100) as failing
                {{ 'union all' if not loop.last }}
                {%- endfor %}
            ) as failed
        )
    {%- endset -%}
    {%- do run_query(query) -%}
    {%- set said = [] -%}
    {%- for test in failed -%}
        {%- set query -%}
            select left(min(failed.failed_row), 300)
            from (select unnest(getvariable('failed_rows')) as failed)
            where failed.test = {{ test.literal }}
        {%- endset -%}
        {%- do said.append(
            test.name ~ ': ' ~ test.failures ~ ', such as ' ~ run_query(query).columns[0][0]
        ) -%}
    {%- endfor -%}
    {%- do run_query('rollback') -%}
    {%- set query -%}
        create or replace table {{ failed_rows() }} as
        select now() as failed_at, failed.test, failed.failed_row
        from (select unnest(getvariable('failed_rows')) as failed)
    {%- endset -%}
    {%- do run_query(query) -%}
    {%- do run_query('begin') -%}
    {{ exceptions.raise_database_error(
        this.identifier ~ ' stays as it was, because tests of the new version fail:\n'
        ~ said | join('\n')
        ~ '\nhint: SELECT * FROM ' ~ failed_rows() ~ ' has up to 100 rows of each'
    ) }}
{%- endmacro %}


{% macro failed_rows() -%}
    {{ this.database }}.meta.failed_rows_{{ this.identifier }}
{%- endmacro %}


{# A test that the audit of its model has run in this very process is not run again. #}
{% materialization test, adapter='duckdb' -%}
    {%- set failures = graph.nodes[model.unique_id].get('audited_failures') -%}
    {%- if failures is none or flags.WHICH == 'test' or should_store_failures() -%}
        {{ return(materialization_test_default()) }}
    {%- endif -%}
    {%- call statement('main', fetch_result=True) -%}
        select
            {{ failures }} as failures,
            {{ failures }} {{ config.get('warn_if') }} as should_warn,
            {{ failures }} {{ config.get('error_if') }} as should_error
    {%- endcall -%}
    {{ return({'relations': []}) }}
{%- endmaterialization %}
