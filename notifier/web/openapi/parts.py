"""The building blocks of the OpenAPI document: schemas (JSON Schema 2020-12), parameters, answers, operations."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Described = dict[str, Any]
"""A part of the OpenAPI document, as JSON."""

JSON: Final = "application/json"

ERRORS: Final[Mapping[int, str]] = {
    400: "The request asks for something that cannot be meant; the message says what is wrong with it.",
    401: "Only a signed-in browser, or a program with the `[http] token`, may do this here.",
    403: "The request names a foreign host, comes from a page of another origin, or is for the owner's socket alone.",
    404: "There is nothing of that name; the message says what there is.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body must be JSON.",
    429: "Too many wrong tokens came from there; `Retry-After` says for how many seconds to wait.",
    500: "An internal error; see the log.",
    503: "It cannot be done at the moment; the message says why, and what helps.",
}
"""The descriptions of the errors, by HTTP status; all have the same form, with a named reason and a sentence."""

_ALWAYS: Final = (401, 403, 408, 429, 500)
_OF_A_BODY: Final = (413, 415)


@dataclass(frozen=True, slots=True)
class Subject:
    """The content of one module of this package: paths with their operations, and the schemas that they share."""

    paths: Mapping[str, Described]
    schemas: Mapping[str, Described] = field(default_factory=dict)


def text(description: str, **more: Any) -> Described:
    """Return the schema of a string."""
    return {"type": "string", "description": description, **more}


def whole(description: str, **more: Any) -> Described:
    """Return the schema of a whole number that is not negative."""
    return {"type": "integer", "minimum": 0, "description": description, **more}


def truth(description: str) -> Described:
    """Return the schema of a boolean."""
    return {"type": "boolean", "description": description}


def moment(description: str) -> Described:
    """Return the schema of a time, written as RFC 3339 in UTC."""
    return text(description, format="date-time")


def one_of(description: str, words: Iterable[str]) -> Described:
    """Return the schema of a string that is one of `words`."""
    return {"type": "string", "enum": [str(word) for word in words], "description": description}


def or_null(schema: Described) -> Described:
    """Return a schema that also allows null."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    more = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [schema["type"], "null"], **more}


def several(items: Described, description: str = "", **more: Any) -> Described:
    """Return the schema of an array."""
    return {"type": "array", "items": items, **({"description": description} if description else {}), **more}


def by_name(values: Described, description: str) -> Described:
    """Return the schema of an object with names as keys."""
    return {"type": "object", "additionalProperties": values, "description": description}


def complete(properties: Described, description: str = "", **more: Any) -> Described:
    """Return the schema of an object that always has all `properties`; later versions may add others."""
    named = {"description": description} if description else {}
    return {"type": "object", **named, "required": list(properties), "properties": properties, **more}


def wish(properties: Described, description: str, required: Sequence[str] = ()) -> Described:
    """Return the schema of a request's object, which has some of `properties` and no others."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
    }


def ref(schema: str) -> Described:
    """Return a reference to one of the shared schemas."""
    return {"$ref": f"#/components/schemas/{schema}"}


def in_path(name: str, schema: Described) -> Described:
    """Return the description of a parameter in the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": schema["description"]}


def in_query(name: str, schema: Described) -> Described:
    """Return the description of a query parameter; an empty one means the same as none."""
    description = schema["description"]
    return {"name": name, "in": "query", "schema": schema, "description": description, "allowEmptyValue": True}


def answer(description: str, schema: Described, media_type: str = JSON) -> Described:
    """Return the description of an answer."""
    return {"description": description, "content": {media_type: {"schema": schema}}}


def operation(
    name: str,
    summary: str,
    answers: Mapping[int, Described],
    *,
    tag: str,
    description: str = "",
    parameters: Sequence[Described] = (),
    body: Described | None = None,
    needs_body: bool = False,
    errors: Sequence[int] = (),
) -> Described:
    """Return the description of one method of a path; `errors` adds to the errors that every request may get."""
    described: Described = {"operationId": name, "summary": summary, "tags": [tag]}
    if description:
        described["description"] = description
    if parameters:
        described["parameters"] = list(parameters)
    if body is not None:
        described["requestBody"] = {"content": {JSON: {"schema": body}}, "required": needs_body}
    statuses = {*errors, *_ALWAYS, *(_OF_A_BODY if body is not None else ())}
    described["responses"] = {
        **{str(status): its for status, its in answers.items()},
        **{str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)},
    }
    return described
