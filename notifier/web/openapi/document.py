"""Builds the OpenAPI document at `/openapi.json` from the operations (https://spec.openapis.org/oas/v3.1.0)."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any, Final

from pydantic import ValidationError
from pydantic.json_schema import JsonSchemaMode

from notifier import __version__
from notifier.destinations.webhook.event_schema import schema as event_schema
from notifier.web.openapi.operations import JSON, OPERATIONS, PATH_PARAMETERS, Operation
from notifier.web.openapi.schemas import JsonObject, schemas_of
from notifier.web.query_parameters import BaseQuery
from notifier.web.requests import BaseRequest
from notifier.web.response_models.shared import ErrorDocument

_ERRORS: Final[Mapping[int, str]] = {
    400: "A field of the request is missing or invalid; the message says which.",
    401: "Only a signed-in browser, or a program with the `[http] token`, may do this here.",
    403: "The request names a foreign host, comes from a page of another origin, or may be made only over the owner's"
    " socket.",
    404: "There is nothing with that name; the message says what there is.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body must be JSON.",
    429: "Too many wrong tokens came from there; `Retry-After` says for how many seconds to wait.",
    500: "An internal error; see the log.",
    503: "It cannot be done at the moment; the message says why, and what helps.",
}
"""The descriptions of the errors by HTTP status."""

_COMMON_ERRORS: Final = (401, 403, 408, 429, 500)
_BODY_ERRORS: Final = (413, 415)


@cache
def document() -> JsonObject:
    """Return the OpenAPI document. The first call builds it, which takes a moment; later calls use the cache."""
    schemas, components = schemas_of(_all_types())
    # The schema of events is not made from a model; `notifier schema event` prints the same schema.
    components["EventPage"]["properties"]["events"]["items"] = {"$ref": "#/components/schemas/Event"}
    components["Event"] = _relocate_references(
        {key: value for key, value in event_schema().items() if key != "$schema"}
    )
    paths: dict[str, JsonObject] = {}
    for tag, operations in OPERATIONS.items():
        for it in operations:
            method, path = it.route.split()
            paths.setdefault(path, {})[method.lower()] = _describe_operation(it, tag, schemas, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Completion Notifier",
            "version": __version__,
            "summary": "The local HTTP interface of the daemon.",
            "description": "Over the owner's socket no request needs a token. Elsewhere all but `/healthz`, `/readyz`"
            " and, if no token is configured, `/metrics` need the token or a browser's session, unless `anonymous` is"
            " set. Later versions may add fields to answers.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"session": []}, {}],
        "tags": [{"name": tag} for tag in OPERATIONS],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                str(status): {**_describe_answer(schemas[ErrorDocument], components), "description": description}
                for status, description in _ERRORS.items()
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The `[http] token` of the configuration.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "notifier_session_8787",
                    "description": "The session of a browser that has signed in. The name ends with the port; over TLS"
                    " it is `__Host-notifier_session`.",
                },
            },
        },
    }


def _all_types() -> Iterator[tuple[Any, JsonSchemaMode]]:
    """Yield each type of a request (schema mode `validation`) or of an answer (schema mode `serialization`)."""
    yield ErrorDocument, "serialization"
    for it in chain.from_iterable(OPERATIONS.values()):
        yield it.answer, "serialization"
        for other in it.other_answers.values():
            yield other, "serialization"
        for request in (it.query, it.headers, it.body):
            if request is not None:
                yield request, "validation"


def _describe_operation(
    it: Operation, tag: str, schemas: Mapping[Any, JsonObject], components: JsonObject
) -> JsonObject:
    """Return the part of the document that describes one operation."""
    in_path = re.findall(r"/(\w+)/{(\w+)}", it.route)
    described: JsonObject = {"operationId": it.name, "summary": it.summary, "tags": [tag]}
    if it.description:
        described["description"] = it.description
    parameters = [
        *(
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string"},
                "description": PATH_PARAMETERS[of],
            }
            for of, name in in_path
        ),
        *_parameters(it.query, "query", components),
        *_parameters(it.headers, "header", components),
    ]
    if parameters:
        described["parameters"] = parameters
    if it.body is not None:
        described["requestBody"] = {
            "content": {JSON: {"schema": schemas[it.body]}},
            "required": _is_body_required(it.body),
        }
    errors = {
        *_COMMON_ERRORS,
        *it.errors,
        *((400,) if it.query or it.body else ()),
        *((404,) if in_path else ()),
        *(_BODY_ERRORS if it.body else ()),
    }
    described["responses"] = {
        "200": _describe_answer(schemas[it.answer], components, it.media_type),
        **{str(status): _describe_answer(schemas[other], components) for status, other in it.other_answers.items()},
        **{str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(errors)},
    }
    return described


def _parameters(model: type[BaseQuery] | None, where: str, components: JsonObject) -> Iterator[JsonObject]:
    """Yield the parameters of a model. A list becomes a repeated parameter, which is OpenAPI's default (`explode`)."""
    if model is None:
        return
    for name, schema in components.pop(model.__name__)["properties"].items():
        empty = {"allowEmptyValue": True} if where == "query" else {}
        yield {"name": name, "in": where, "schema": schema, "description": schema.pop("description"), **empty}


def _is_body_required(model: type[BaseRequest]) -> bool:
    """Return whether a request must have a body. A missing body is parsed as `{}`, which `model` may refuse."""
    try:
        model.model_validate({})
    except ValidationError:
        return True
    return False


def _describe_answer(schema: JsonObject, components: JsonObject, media_type: str = JSON) -> JsonObject:
    described = components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return {"description": described["description"], "content": {media_type: {"schema": schema}}}


def _relocate_references(piece: Any) -> Any:
    """Return a part of the schema of events, with references that are valid in this document."""
    if isinstance(piece, dict):
        return {
            key: value.replace("#/$defs/", "#/components/schemas/Event/$defs/")
            if key == "$ref"
            else _relocate_references(value)
            for key, value in piece.items()
        }
    return [_relocate_references(it) for it in piece] if isinstance(piece, list) else piece
