"""The OpenAPI document describes every route, and each route behaves as it is described."""

import re
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, assume, given, settings
from schemathesis import GenerationMode

from notifier.web.openapi.document import document
from tests.support.live_daemon import live_daemon

if TYPE_CHECKING:
    from tests.support.local_interface import Interface

DOCUMENT = document()
EXAMPLES = 20
NAMES = {"sources": ["acme-1", "nobody"], "destinations": ["hr", "nobody"]}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def described_routes() -> set[tuple[str, str]]:
    return {(method, path) for method, path, _ in operations()}


def forbid_other_properties(piece: Any) -> Any:
    """Return a schema whose objects may have no properties except the described ones."""
    if isinstance(piece, list):
        return [forbid_other_properties(each) for each in piece]
    if not isinstance(piece, dict):
        return piece
    inner = {name: forbid_other_properties(each) for name, each in piece.items()}
    if isinstance(inner.get("properties"), dict) and "required" in inner:
        inner.setdefault("additionalProperties", False)
    return inner


def strict_document() -> dict[str, Any]:
    """Return the document with closed objects, and with names that exist in the daemon under test."""
    strictly = deepcopy(DOCUMENT)
    schemas = strictly["components"]["schemas"]
    strictly["components"]["schemas"] = {
        name: schema if name == "Event" else forbid_other_properties(schema) for name, schema in schemas.items()
    }
    # A schema cannot say that `until` must be later than `since`.
    del strictly["components"]["schemas"]["ReplayRequest"]["properties"]["until"]
    for path, methods in strictly["paths"].items():
        for parameter in (each for operation in methods.values() for each in operation.get("parameters", ())):
            if (parameter["in"], parameter["name"]) == ("path", "name"):
                parameter["schema"]["enum"] = NAMES[path.split("/")[2]]
    return strictly


@cache
def strict_api() -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_dict(strict_document())


async def test_openapi_json_returns_the_document(interface: "Interface") -> None:
    async with interface.over_tcp.get(f"{interface.url}/openapi.json") as response:
        assert response.content_type == "application/json"
        assert await response.json() == DOCUMENT


def test_openapi_modules_are_not_imported_at_start() -> None:
    program = "import sys, notifier.daemon.run; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    assert "notifier.web.app" in loaded
    assert [name for name in loaded if name.startswith(("notifier.web.openapi", "notifier.web.response_models"))] == []


def test_document_is_valid_openapi_with_unique_operation_ids() -> None:
    schemathesis.openapi.from_dict(deepcopy(DOCUMENT)).validate()
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


def test_document_defines_exactly_the_components_that_it_references() -> None:
    referred = set(re.findall(r"'\$ref': '#/components/(\w+)/(\w+)", str(DOCUMENT)))
    components = DOCUMENT["components"]
    there = {(kind, name) for kind in ("schemas", "responses") for name in components[kind]}
    assert referred == there


async def test_document_describes_exactly_the_routes_for_programs(interface: "Interface") -> None:
    app = interface.app
    routes = {
        (route.method, re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.resource.canonical))
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD" and serves_programs(route)
    }
    assert routes == described_routes()


def serves_programs(route: web.AbstractRoute) -> bool:
    """Return whether a route is for programs, and not for a page of the dashboard."""
    return not route.handler.__module__.startswith("notifier.web.dashboard")


@pytest.mark.parametrize(("method", "path", "operation"), [*operations()], ids=lambda value: str(value)[:40])
def test_operation_uses_get_or_post_and_describes_every_parameter(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert method in {"GET", "POST"}
    parameters = operation.get("parameters", [])
    in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", path))
    assert operation["responses"].keys() >= {"200", "401", "403"}
    assert all(parameter["description"] for parameter in parameters)


def test_forget_request_person_needs_a_character_that_is_not_blank() -> None:
    person = DOCUMENT["components"]["schemas"]["ForgetRequest"]["properties"]["person"]
    assert re.search(person["pattern"], "\t") is None
    assert re.search(person["pattern"], " x ")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with live_daemon(tmp_path_factory.mktemp("live")) as url:
        yield url


def operations_to_try() -> Iterator[Any]:
    """Yield each operation except the endless stream, for valid requests and, if there are any, for invalid ones."""
    for method, path, operation in operations():
        if path == "/v1/events/stream":
            continue
        yield pytest.param(method, path, GenerationMode.POSITIVE, id=f"{method} {path}")
        # Every text is valid as a record's key.
        if path != "/v1/records/{key}" and ("parameters" in operation or "requestBody" in operation):
            yield pytest.param(method, path, GenerationMode.NEGATIVE, id=f"{method} {path} wrongly")


def has_empty_value(sent: object) -> bool:
    """Return whether a request contains an empty text, which counts as missing; a schema cannot express that."""
    if isinstance(sent, dict):
        return any(has_empty_value(value) for value in sent.values())
    if isinstance(sent, list):
        return any(has_empty_value(value) for value in sent)
    return sent == ""


@pytest.mark.parametrize(("method", "path", "mode"), [*operations_to_try()])
def test_routes_behave_as_the_document_describes(address: str, method: str, path: str, mode: GenerationMode) -> None:
    operation = strict_api()[path][method]

    @given(operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    def try_it(case: schemathesis.Case[Any]) -> None:
        assume(not has_empty_value(case.query) and not has_empty_value(case.body))
        case.call_and_validate(base_url=address)

    try_it()
