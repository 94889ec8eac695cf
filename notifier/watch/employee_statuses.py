"""Reads the account's whole employee status list, with one page in memory at a time."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Final

from notifier.kpa.employee_status import EndDates, StatusPage
from notifier.kpa.errors import ApiError, ApiErrorReason

PEOPLE_PER_PAGE: Final = 500
"""People per page. The API allows more, but sends many completions with each person."""

StatusPageReader = Callable[[int, int], Awaitable[StatusPage]]
"""Returns a page of the list, by the page's number (from 1) and size. Raises ApiError."""


async def read_employee_statuses(page: StatusPageReader) -> AsyncGenerator[Mapping[str, EndDates], None]:
    """Yield for each page the end dates of people's completions, by user id. No person is yielded twice.

    Raises ApiError if a page cannot be read, or if all its people were on earlier pages (such a list might never end).
    To stop early, close the generator with `contextlib.aclosing`.
    """
    seen_ids: set[str] = set()
    number = 0
    while True:
        number += 1
        read = await page(number, PEOPLE_PER_PAGE)
        new = {user_id: ends for user_id, ends in read.people.items() if user_id not in seen_ids}
        if read.people and not new:
            raise ApiError(ApiErrorReason.UNEXPECTED_SHAPE, f"page {number} repeats the people of earlier pages")
        seen_ids.update(new)
        if new:
            yield new
        if read.is_last:
            return
