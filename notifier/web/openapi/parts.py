"""What descriptions are made of: schemas (JSON Schema 2020-12), parameters, answers, operations."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Described = dict[str, Any]
"""A piece of a description, as JSON."""

JSON: Final = "application/json"

ERRORS: Final[Mapping[int, str]] = {
    400: "The request asks for something that cannot be meant; the message says what is wrong with it.",
    401: "Beyond loopback the `[http] token` is required.",
    403: "The request names a foreign host, or comes from a page of another origin.",
    404: "There is nothing of that name; the message says what there is.",
    413: "The body is too large.",
    415: "The body must be JSON.",
    500: "A fault of the program; its log tells more.",
    503: "It cannot be done at the moment; the message says why, and what helps.",
}
"""The errors, by HTTP status. Each has the same form, with a named reason and a sentence."""

_ALWAYS: Final = (401, 403, 500)
_OF_A_BODY: Final = (413, 415)


@dataclass(frozen=True, slots=True)
class Subject:
    """What one file describes: paths with their operations, and the schemas that these share."""

    paths: Mapping[str, Described]
    schemas: Mapping[str, Described] = field(default_factory=dict)


def text(description: str, **more: Any) -> Described:
    """Describe a text."""
    return {"type": "string", "description": description, **more}


def whole(description: str, **more: Any) -> Described:
    """Describe a whole number that is not negative."""
    return {"type": "integer", "minimum": 0, "description": description, **more}


def truth(description: str) -> Described:
    """Describe a yes or no."""
    return {"type": "boolean", "description": description}


def moment(description: str) -> Described:
    """Describe a moment, which is written as RFC 3339 in UTC."""
    return text(description, format="date-time")


def one_of(description: str, words: Iterable[str]) -> Described:
    """Describe one of a closed set of words."""
    return {"type": "string", "enum": [str(word) for word in words], "description": description}


def or_null(schema: Described) -> Described:
    """Let what is described be null, too."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    more = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [schema["type"], "null"], **more}


def several(items: Described, description: str = "", **more: Any) -> Described:
    """Describe an array."""
    return {"type": "array", "items": items, **({"description": description} if description else {}), **more}


def by_name(values: Described, description: str) -> Described:
    """Describe an object whose keys are names."""
    return {"type": "object", "additionalProperties": values, "description": description}


def complete(properties: Described, description: str = "", **more: Any) -> Described:
    """Describe an object that always has all of `properties`; later versions may add others."""
    named = {"description": description} if description else {}
    return {"type": "object", **named, "required": list(properties), "properties": properties, **more}


def wish(properties: Described, description: str, required: Sequence[str] = ()) -> Described:
    """Describe an object that is sent: it has some of `properties` and no others."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
        **({"required": list(required)} if required else {}),
    }


def ref(schema: str) -> Described:
    """Refer to a schema that stands among the components."""
    return {"$ref": f"#/components/schemas/{schema}"}


def in_path(name: str, schema: Described) -> Described:
    """Describe a part of the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": schema["description"]}


def in_query(name: str, schema: Described) -> Described:
    """Describe a parameter of the query, which may be left out, or be empty, which is the same."""
    description = schema["description"]
    return {"name": name, "in": "query", "schema": schema, "description": description, "allowEmptyValue": True}


def answer(description: str, schema: Described, media_type: str = JSON) -> Described:
    """Describe an answer."""
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
    """Describe what one method does at one path; `errors` are those beside the ones that every request may meet."""
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
