"""JSON schemas as connectors write them, reduced to the types of fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CHOICES = ("oneOf", "anyOf", "allOf")
# How older connectors name their types, by a reference.
_WELL_KNOWN: dict[str, dict[str, str]] = {
    "Integer": {"type": "integer"},
    "Number": {"type": "number"},
    "String": {"type": "string"},
    "BinaryData": {"type": "string"},
    "Boolean": {"type": "boolean"},
    "Date": {"type": "string", "format": "date"},
    "TimeWithTimezone": {"type": "string", "format": "time"},
    "TimeWithoutTimezone": {"type": "string", "format": "time"},
    "TimestampWithTimezone": {"type": "string", "format": "date-time"},
    "TimestampWithoutTimezone": {"type": "string", "format": "date-time"},
}
_TYPES = ("string", "boolean", "integer", "number", "object", "array", "null")


def reduced(schema: Any) -> dict[str, Any]:
    """A JSON schema reduced to types and descriptions, in the spelling `FieldSchema` reads.

    What JSON schema leaves open, or says in more than one way, is as Airbyte's destinations take
    it (JsonSchemaToAirbyteType in the connectors' kit): a type goes before a choice, and without
    either it is an object.
    """
    if not isinstance(schema, dict):  # `true` and `false` are schemas as well
        return {}
    schema = {**schema, **_WELL_KNOWN.get(str(schema.get("$ref", "")).rpartition("/")[2], {})}
    kept: dict[str, Any] = {}
    options = next((schema[word] for word in _CHOICES if schema.get(word)), None)
    properties, items = schema.get("properties"), schema.get("items")
    if kind := _type_of(schema, options):
        kept["type"] = kind
    kept |= {word: schema[word] for word in ("format", "airbyte_type") if _is_text(schema, word)}
    if isinstance(options, list) and "type" not in kept:
        kept |= _options(options)
    if isinstance(properties, dict) and properties:
        kept["properties"] = {name: reduced(inner) for name, inner in properties.items()}
    if isinstance(items, list) and items:
        kept["items"] = _options(items)
    elif isinstance(items, dict):  # without any words, the elements are JSON text
        kept["items"] = reduced(items)
    if _is_text(schema, "description"):
        # Half a surrogate pair is valid JSON, but no text of a file.
        text = schema["description"].encode("utf-8", "replace").decode("utf-8")
        kept["description"] = " ".join(text.split())
    return kept


def field_schemas(schema: Mapping[str, Any], path: str = "") -> dict[str, Mapping[str, Any]]:
    """Schema of every field by its dotted path; `[]` stands for the elements of a list."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, inner in (schema.get("properties") or {}).items():
        below = f"{path}.{name}" if path else name
        found |= {below: inner, **field_schemas(inner, below)}
    if schema.get("items"):
        found |= field_schemas(schema["items"], f"{path}[]")
    return found


def type_text(schema: Mapping[str, Any]) -> str:
    """The type of a field for people: `array of string`."""
    if options := schema.get("oneOf"):
        return " or ".join(type_text(option) for option in options)
    kinds = schema.get("type") or "anything"
    names = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
    text = " or ".join(names) or "null"
    if schema.get("items"):
        return f"{text} of {type_text(schema['items'])}"
    return f"{text} ({schema['format']})" if schema.get("format") else text


def _options(schemas: list[Any]) -> dict[str, Any]:
    """A choice of schemas; null does not count as one, and a single one is the schema itself."""
    options = [option for schema in schemas if (option := reduced(schema)) != {"type": "null"}]
    unique = [option for number, option in enumerate(options) if option not in options[:number]]
    return unique[0] if len(unique) == 1 else {"oneOf": unique}


def _type_of(schema: Mapping[str, Any], options: Any) -> str | list[str] | None:
    kinds = schema.get("type")
    named = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    whole = schema.get("airbyte_type") == "integer"
    found = [
        "integer" if name == "int" or (name == "number" and whole) else name
        for name in named
        if name in (*_TYPES, "int")
    ]
    if found:
        return found[0] if isinstance(kinds, str) else found
    return "object" if schema.get("properties") and not options else None


def _is_text(schema: Mapping[str, Any], word: str) -> bool:
    return isinstance(schema.get(word), str) and bool(schema[word].strip())
