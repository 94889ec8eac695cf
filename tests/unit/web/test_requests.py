"""Invalid requests: one sentence names the field, and never repeats a value."""

from itertools import chain

import orjson
import pytest
from multidict import MultiDict
from pydantic import BaseModel

from notifier.web.openapi.operations import OPERATIONS
from notifier.web.query_parameters import BaseQuery, parse_query
from notifier.web.requests import BaseRequest, MustBe, WrongRequestError, parse_body

ALL = [*chain.from_iterable(OPERATIONS.values())]
BODIES = [it.body for it in ALL if it.body]
QUERIES = [model for it in ALL for model in (it.query, it.headers) if model]
SECRET = "s3cret"
VALID_VALUES = {"what": "removals", "since": "2026-11-21", "from": "old", "to": "new", "person": "x"}
"""Valid values for the fields that a request needs in addition to the invalid field."""


def field_names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


@pytest.mark.parametrize("model", [*BODIES, *QUERIES])
def test_request_fields_have_exactly_one_must_be(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        assert sum(isinstance(it, MustBe) for it in field.metadata) == 1, name


@pytest.mark.parametrize(("model", "name"), [(model, name) for model in BODIES for name in field_names(model)])
def test_parse_body_names_a_field_of_the_wrong_type_without_its_value(model: type[BaseRequest], name: str) -> None:
    needed = {key: VALID_VALUES[key] for key in field_names(model) if key in VALID_VALUES}
    for value in ({SECRET: 1}, [[SECRET]]):
        with pytest.raises(WrongRequestError) as refused:
            parse_body(model, orjson.dumps({**needed, name: value}))
        assert str(refused.value).startswith(f"`{name}` must be ")
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("model", "name"), [(model, name) for model in QUERIES for name in field_names(model) if name != "destination"]
)
def test_parse_query_names_an_invalid_parameter_without_its_value(model: type[BaseQuery], name: str) -> None:
    with pytest.raises(WrongRequestError) as refused:
        parse_query(model, MultiDict({name: f"{SECRET.upper()} "}))
    assert str(refused.value).startswith(f"`{name}` must be ")
    assert SECRET not in str(refused.value).lower()


@pytest.mark.parametrize("model", BODIES)
def test_parse_body_reports_an_unknown_field_before_other_errors(model: type[BaseRequest]) -> None:
    with pytest.raises(WrongRequestError, match="there is no field `misspelt`; there is ") as refused:
        parse_body(model, orjson.dumps({field_names(model)[0]: [SECRET, 7], "misspelt": SECRET}))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("limit", ["+5", "5.0", " 5", "1_0", "\u0665", "10_00"])
def test_parse_query_rejects_a_limit_with_anything_but_ascii_digits(limit: str) -> None:
    for model in QUERIES:
        if "limit" in model.model_fields:
            with pytest.raises(WrongRequestError, match="`limit` must be 1 to 1000"):
                parse_query(model, MultiDict({"limit": limit}))
