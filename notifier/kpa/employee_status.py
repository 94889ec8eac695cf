"""Reads pages of the account's employee status list: which trainings of each person are valid, and until when.

The API's method is `training-employee-status.list`.
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from notifier.facts import ListedEnd
from notifier.http.exchange import Answer
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.field_parsers import UnreadableError, day, identifier
from notifier.kpa.responses import get_list, get_paging, parse_count, parse_json, read_object

METHOD: Final = "training-employee-status.list"

EndDates = Mapping[str, ListedEnd]
"""When one person's latest completion of each training runs out, by training id. If it never does, no entry exists."""


class StatusPage(Struct, frozen=True):
    """One page of the list: when each person's completions run out, by user id.

    A person whose completions never run out has an empty entry. A person whose entry cannot be read is left out.
    """

    people: Mapping[str, EndDates]
    is_last: bool


def read_status_page(answer: Answer, token: str, *, number: int, limit: int) -> StatusPage:
    """Return the page in an answer.

    Raises ApiError if the answer has no page, or if the page has people but none of the people can be read.
    """
    document = read_object(answer, token, parse_json)
    employees = get_list(document, "employees")
    people: dict[str, EndDates] = {}
    for employee in employees:
        try:
            user_id, ends = _read_employee(employee)
        except UnreadableError:
            continue
        people[user_id] = ends
    if employees and not people:
        raise ApiError(ApiErrorReason.UNEXPECTED_SHAPE, f"none of the {len(employees)} `employees` can be read")
    last_page = parse_count(get_paging(document).get("last_page"))
    is_last = number >= last_page if last_page is not None else len(employees) < limit
    return StatusPage(people, is_last or not employees)


def _read_employee(employee: Any) -> tuple[str, EndDates]:
    """Return a person's id, and when the person's completions run out.

    Raises UnreadableError if any part is unreadable. If an unreadable completion were left out, the completion would
    seem never to run out.
    """
    if not isinstance(employee, dict):
        raise UnreadableError("an employee is not an object")
    completed = employee.get("last_completed")
    if completed is None:
        completed = []
    if not isinstance(completed, list) or not all(isinstance(entry, dict) for entry in completed):
        raise UnreadableError("`last_completed` is not a list of objects", "last_completed")
    ends: dict[str, ListedEnd] = {}
    for entry in completed:
        until, completed_on = day(entry, "expiresOn"), day(entry, "date_number")
        if until is not None and completed_on is not None:
            ends[identifier(entry, "id")] = ListedEnd(completed_on, until)
    return identifier(employee, "m_user_id"), ends
