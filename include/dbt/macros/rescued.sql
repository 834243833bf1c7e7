{#
    The value of a place that `_lake_rescued` keeps, because it did not fit its type there; NULL if
    it keeps none. `path` is what SQL calls the place in the landing table: `amount`,
    `address.zip`, `lines[2].sku`. The value is cast to `type`, and NULL if that type cannot hold
    it either; a struct, list or map, which is read as JSON, if a part of it does not fit. As
    varchar, a text is the text itself, and all else is JSON.

        coalesce(amount, {{ rescued('amount', 'decimal(18, 4)') }}) as amount

    `entries` names the column where more than one relation has it: `orders._lake_rescued`.
#}
{% macro rescued(path, type='varchar', entries='_lake_rescued') -%}
    {%- set kind = type | trim | lower -%}
    {%- set text -%}
        case
            when starts_with(entry.value, '"') then entry.value::json ->> '$' else entry.value
        end
    {%- endset -%}
    {%- if kind.endswith(']') or kind.startswith(('struct', 'map')) -%}
        {%- set value = 'try(cast(try_cast(' ~ text ~ ' as json) as ' ~ type ~ '))' -%}
    {%- else -%}
        {%- set value = 'try_cast(' ~ text ~ ' as ' ~ type ~ ')' -%}
    {%- endif -%}
    list_transform(
        list_filter({{ entries }}, lambda entry: entry.path = '{{ path | replace("'", "''") }}'),
        lambda entry: {{ value }}
    )[1]
{%- endmacro %}


{# The type of `_lake_rescued`, as in landing/conversion.py. #}
{% macro type_of_rescued() -%}
    struct(path varchar, value varchar, expected varchar, arrived varchar)[]
{%- endmacro %}
