"""The configuration's JSON Schema, for editors and other programs."""

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from notifier.config.base_table import BaseTable
from notifier.config.destination_types import TABLE_CLASS
from notifier.config.settings import Settings

if TYPE_CHECKING:
    from pydantic_core import core_schema


IDENTIFIER: Final = "urn:completion-notifier:configuration"
"""The `$id` by which other schemas and editors can refer to this schema."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the configuration."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": IDENTIFIER,
        **Settings.model_json_schema(schema_generator=_ConfigurationSchema),
    }


class _ConfigurationSchema(GenerateJsonSchema):
    """Generates a schema that allows only what TOML can express (no null) and only valid names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False, because titles would only repeat the keys."""
        del schema
        return False

    def model_schema(self, schema: "core_schema.ModelSchema") -> JsonSchemaValue:
        """Describe each key of a table by the docstring below the key in the class."""
        described = super().model_schema(schema)
        for key, text in _key_docstrings(schema["cls"]).items():
            if key in described["properties"]:
                described["properties"][key]["description"] = text
        return described

    def nullable_schema(self, schema: "core_schema.NullableSchema") -> JsonSchemaValue:
        """Describe an optional key without null; in TOML an unset key is left out."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: "core_schema.WithDefaultSchema") -> JsonSchemaValue:
        """Include a default unless it is None, which TOML cannot express."""
        if "default" in schema and schema["default"] is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def tagged_union_schema(self, schema: "core_schema.TaggedUnionSchema") -> JsonSchemaValue:
        """Describe a union so that a table is validated only against the schema of its own `type`.

        With `oneOf`, validators would report for every type why the table does not match it.
        """
        tag = str(schema["discriminator"])
        choices = {str(choice): self.generate_inner(inner) for choice, inner in schema["choices"].items()}
        return {
            "type": "object",
            "required": [tag],
            "properties": {tag: {"enum": [*choices]}},
            "allOf": [
                {"if": {"properties": {tag: {"const": choice}}, "required": [tag]}, "then": described}
                for choice, described in choices.items()
            ],
        }

    def function_plain_schema(self, schema: "core_schema.PlainValidatorFunctionSchema") -> JsonSchemaValue:
        """Define the schema of each type of destination once, and refer to the definition wherever the type is used."""
        table: type[BaseTable] | None = schema.get("metadata", {}).get(TABLE_CLASS)
        if table is None:
            return super().function_plain_schema(schema)
        table.model_rebuild()
        name = f"{table.__module__}.{table.__qualname__}:{id(table)}"
        return self.generate_inner({**table.__pydantic_core_schema__, "ref": name})

    def dict_schema(self, schema: "core_schema.DictSchema") -> JsonSchemaValue:
        """In a table whose keys users choose, allow only keys that are valid names."""
        described = super().dict_schema(schema)
        if "patternProperties" in described:
            described["additionalProperties"] = False
        return described


def _key_docstrings(table: type[BaseTable]) -> dict[str, str]:
    """Return the docstrings of a table's keys, including inherited keys.

    pydantic could collect the docstrings when it creates the classes, but then every start would take twice as long.
    """
    docstrings: dict[str, str] = {}
    for cls in reversed(table.__mro__):
        if issubclass(cls, BaseTable):
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
            docstrings |= _class_key_docstrings(body)
    return docstrings


def _class_key_docstrings(definition: ast.stmt) -> dict[str, str]:
    found: dict[str, str] = {}
    for statement, following in pairwise(definition.body if isinstance(definition, ast.ClassDef) else ()):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                found[key] = text
            case _:
                pass
    return found
