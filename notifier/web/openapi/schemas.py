"""Makes JSON Schemas (2020-12) for the types of requests and answers."""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import core_schema

JsonObject = dict[str, Any]
"""A part of the OpenAPI document, as JSON."""

REFERENCE_TEMPLATE: Final = "#/components/schemas/{model}"


class _Generator(GenerateJsonSchema):
    """Generates compact schemas: a nullable type is a list of types, and empty defaults are left out.

    The name of a schema is that of its type without the suffix `Document`.
    """

    def normalize_name(self, name: str) -> str:
        return super().normalize_name(name.removesuffix("Document"))

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonObject:
        inner = self.generate_inner(schema["schema"])
        if not isinstance(inner.get("type"), str):
            return {"anyOf": [inner, {"type": "null"}]}
        values = {"enum": [*inner["enum"], None]} if "enum" in inner else {}
        return {**inner, "type": [inner["type"], "null"], **values}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonObject:
        return super().default_schema(schema) if schema.get("default") else self.generate_inner(schema["schema"])


def schemas_of(types: Iterable[tuple[Any, JsonSchemaMode]]) -> tuple[dict[Any, JsonObject], JsonObject]:
    """Return the schema of each type, and the named definitions to which these schemas refer."""
    adapters = [(type_, mode, TypeAdapter(type_)) for type_, mode in dict.fromkeys(types)]
    schemas, rest = TypeAdapter.json_schemas(adapters, ref_template=REFERENCE_TEMPLATE, schema_generator=_Generator)
    named = {type_: _without_titles(schema) for (type_, _), schema in schemas.items()}
    return named, _without_titles(rest.get("$defs", {}))


def _without_titles(piece: Any) -> Any:
    """Return a schema without titles. A property named `title` is kept."""
    if isinstance(piece, list):
        return [_without_titles(it) for it in piece]
    if not isinstance(piece, dict):
        return piece
    return {key: _without_titles(it) for key, it in piece.items() if key != "title" or isinstance(it, dict)}
