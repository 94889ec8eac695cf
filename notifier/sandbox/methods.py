"""The documented methods of the API, with their parameters and answers."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from notifier.sandbox.account import Account, Filters
from notifier.sandbox.control import SandboxControl
from notifier.sandbox.employee_status import status_page, with_default_limit
from notifier.sandbox.errors import ErrorIdentifier, SandboxError
from notifier.sandbox.faults import ApiRequest, ListFault
from notifier.sandbox.listing import build_paging, list_page
from notifier.sandbox.records import Version

Reader = Callable[[Any], Any]
"""Converts the JSON value of a parameter, or raises ValueError with a description of the valid values."""

_HEX_ID = re.compile(r"[0-9a-fA-F]{24}")
_DIGITS = re.compile(r"[0-9]{1,18}")
_HIGHEST_LIMIT = 1000
_DEFAULT_LIMIT = 100


class MethodCall(Struct, frozen=True):
    """A call of a method: the request with its parsed parameters, and the faults that apply to the answer."""

    account: Account
    control: SandboxControl
    request: ApiRequest
    parameters: Mapping[str, Any]
    faults: Sequence[ListFault]


class Method(Struct, frozen=True):
    """One method of the API. Every method also accepts `token` and `pretty`."""

    name: str
    answer: Callable[[MethodCall], Mapping[str, Any]]
    optional: Mapping[str, Reader]
    required: Mapping[str, Reader]

    def parse_parameters(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parsed parameters of a request. Raises SandboxError if one is wrong, unknown or missing."""
        readers: dict[str, Reader] = {"token": str, "pretty": _read_bool, **self.optional, **self.required}
        for name in request:
            if name not in readers:
                raise SandboxError(ErrorIdentifier.PARAMETER_UNEXPECTED, f"The parameter `{name}` is not supported.")
        for name in self.required:
            if name not in request:
                raise SandboxError(ErrorIdentifier.PARAMETER_MISSING, f"The parameter `{name}` is required.")
        parameters = {}
        for name, value in request.items():
            try:
                parameters[name] = readers[name](value)
            except ValueError as error:
                description = f"The parameter `{name}` must be {error}."
                raise SandboxError(ErrorIdentifier.PARAMETER_INVALID, description) from error
        return parameters


def _read_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - one kind of error for all that a reader rejects
    return value


def _read_number(value: Any, *, highest: int | None = None) -> int:
    if type(value) is not int or value < 1 or (highest is not None and value > highest):
        raise ValueError("a whole number from 1" + (f" to {highest}" if highest is not None else ""))
    return value


def _read_hex_id(value: Any) -> str:
    if not isinstance(value, str) or not _HEX_ID.fullmatch(value):
        raise ValueError("an id of 24 hexadecimal digits")
    return value.lower()


def _read_number_id(value: Any) -> int:
    """Parse a v2 id. It is a number, and the documentation also allows the number as a string."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if type(value) is not int:
        raise ValueError("a whole number")
    return value


def _read_list(value: Any, *, read: Reader, of: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"a list of {of}")  # noqa: TRY004 - one kind of error for all that a reader rejects
    try:
        return [read(entry) for entry in value]
    except ValueError as error:
        raise ValueError(f"a list of {of}") from error


def _read_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("an object")  # noqa: TRY004 - one kind of error for all that a reader rejects
    return value


def build_request(method: str, parameters: Mapping[str, Any], number: int) -> ApiRequest:
    """Build a request from its parsed parameters; `number` is its serial number."""
    filters = Filters(
        training=parameters.get("training_id"),
        user=parameters.get("user_id"),
        has_attachments=parameters.get("has_attachments"),
    )
    return ApiRequest(method, parameters.get("page", 1), parameters.get("limit", _DEFAULT_LIMIT), filters, number)


def _list_completions(version: Version, call: MethodCall) -> Mapping[str, Any]:
    account, request = call.account, call.request
    page = list_page(account, call.control.change_log, version, request, call.faults)
    if account.dialect.missing_is_error:
        _require_content(account, request.filters, request.page, page.last_page)
    paging = build_paging(page, with_total=account.dialect.total, faults=call.faults)
    return {"ok": True, "completedtrainings": page.records, "paging": paging}


def _require_content(account: Account, filters: Filters, number: int, last_page: int) -> None:
    if filters.training is not None and not account.has_training(filters.training):
        raise SandboxError(ErrorIdentifier.CONTENT_NOT_FOUND, f"There is no training `{filters.training}`.")
    if filters.user is not None and not account.has_user(filters.user):
        raise SandboxError(ErrorIdentifier.CONTENT_NOT_FOUND, f"There is no user `{filters.user}`.")
    if number > last_page:
        raise SandboxError(ErrorIdentifier.CONTENT_NOT_FOUND, f"The last page is {last_page}.")


def _list_users(call: MethodCall) -> Mapping[str, Any]:
    return {"ok": True, "users": call.account.users}


def _list_trainings(version: Version, call: MethodCall) -> Mapping[str, Any]:
    return {"ok": True, "trainings": [training.format_for(version) for training in call.account.trainings]}


def _list_job_titles(call: MethodCall) -> Mapping[str, Any]:
    return {"ok": True, "jobtitles": call.account.job_titles}


def _list_employee_status(call: MethodCall) -> Mapping[str, Any]:
    account, parameters = call.account, call.parameters
    request = with_default_limit(call.request, parameters.get("limit"))
    page = status_page(
        account,
        call.control.change_log,
        request,
        call.faults,
        people=parameters.get("m_user_ids"),
        trainings=parameters.get("training_ids"),
    )
    employees = page.records
    if not parameters.get("include_all_completions", False):
        employees = [
            {**employee, "last_completed": [_without_flag(entry) for entry in employee["last_completed"]]}
            for employee in employees
        ]
    paging = build_paging(page, with_total=account.dialect.total, faults=call.faults)
    return {"ok": True, "last_updated": account.now_ms(), "employees": employees, "paging": paging}


def _without_flag(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "is_required"}


def _echo(call: MethodCall) -> Mapping[str, Any]:
    """Return the parameter `response` unchanged (API documentation, api.echo).

    Unlike every other answer, this one need not have the field `ok`.
    """
    response: dict[str, Any] = call.parameters["response"]
    return response


def _completions_method(name: str, version: Version, filters: Mapping[str, Reader]) -> Method:
    paging: dict[str, Reader] = {"limit": partial(_read_number, highest=_HIGHEST_LIMIT), "page": _read_number}
    return Method(name, partial(_list_completions, version), {**filters, **paging}, {})


def documented_methods() -> dict[str, Method]:
    """Return the documented methods of the API by name."""
    of_v1: dict[str, Reader] = {"training_id": _read_hex_id, "user_id": _read_hex_id}
    of_v2: dict[str, Reader] = {"training_id": _read_number_id, "user_id": _read_hex_id, "has_attachments": _read_bool}
    methods = (
        _completions_method("completedtrainings.list", Version.V1, of_v1),
        _completions_method("completedtrainings.v2.list", Version.V2, of_v2),
        Method("users.list", _list_users, {}, {}),
        Method("trainings.list", partial(_list_trainings, Version.V1), {}, {}),
        Method("trainings.v2.list", partial(_list_trainings, Version.V2), {}, {}),
        Method("jobtitles.list", _list_job_titles, {}, {}),
        Method(
            "training-employee-status.list",
            _list_employee_status,
            {
                "training_ids": partial(_read_list, read=_read_number_id, of="whole numbers"),
                "m_user_ids": partial(_read_list, read=_read_hex_id, of="ids of 24 hexadecimal digits"),
                "limit": partial(_read_number, highest=_HIGHEST_LIMIT),
                "page": _read_number,
                "include_all_completions": _read_bool,
            },
            {},
        ),
        Method("api.echo", _echo, {}, {"response": _read_object}),
    )
    return {method.name: method for method in methods}
