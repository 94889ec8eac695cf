"""The configuration's JSON Schema, for editors and other programs."""

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from notifier.config.settings import Settings
from notifier.config.tables import Table

if TYPE_CHECKING:
    from pydantic_core import core_schema


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the configuration."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **Settings.model_json_schema(schema_generator=_ConfigurationSchema),
    }


class _ConfigurationSchema(GenerateJsonSchema):
    """What TOML can say: there is no null, and no name that breaks the rule for names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Leave out titles that only repeat the key."""
        del schema
        return False

    def model_schema(self, schema: "core_schema.ModelSchema") -> JsonSchemaValue:
        """Describe each key by what stands below it in its class."""
        described = super().model_schema(schema)
        for key, text in _documented(schema["cls"]).items():
            described["properties"][key]["description"] = text
        return described

    def nullable_schema(self, schema: "core_schema.NullableSchema") -> JsonSchemaValue:
        """Describe an optional key by the values it can have; it is left out instead of being null."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: "core_schema.WithDefaultSchema") -> JsonSchemaValue:
        """Tell a default, if it can be written."""
        if "default" in schema and schema["default"] is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def dict_schema(self, schema: "core_schema.DictSchema") -> JsonSchemaValue:
        """Refuse the keys that no pattern allows."""
        described = super().dict_schema(schema)
        if "patternProperties" in described:
            described["additionalProperties"] = False
        return described


def _documented(table: type[Table]) -> dict[str, str]:
    """Return the docstrings of a table's keys, the inherited ones too.

    pydantic could collect them itself when the classes are made, but that would double the time of every start.
    """
    documented: dict[str, str] = {}
    for cls in reversed(table.__mro__):
        if issubclass(cls, Table):
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
            documented |= _docstrings(body)
    return documented


def _docstrings(definition: ast.stmt) -> dict[str, str]:
    found: dict[str, str] = {}
    for statement, following in pairwise(definition.body if isinstance(definition, ast.ClassDef) else ()):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                found[key] = text
            case _:
                pass
    return found
