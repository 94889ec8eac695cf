"""The client of the upstream API: one method for each thing that is asked of it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar

import aiohttp

from notifier import __version__
from notifier.completions import Completion
from notifier.config import SourceSettings
from notifier.kpa.answers import list_in, parse_json, read_object, served_at_ms
from notifier.kpa.budget import RequestBudget, Urgency
from notifier.kpa.failures import ApiFailure, Reason, no_answer
from notifier.kpa.fields import whole_number
from notifier.kpa.names import BATCH, NamesReader, Person, people_reader, trainings_reader
from notifier.kpa.records import API_VERSIONS, ApiVersion, BadRecord
from notifier.transport import Answer, TransportError, post, stream

_MIB = 1024 * 1024
_PAGE_LIMIT = 32 * _MIB
_NAMES_LIMIT = 256 * _MIB
_ECHO_LIMIT = 1 * _MIB
_READ_AT_ONCE = 1 * _MIB
"""Up to this many bytes a body is read within the event loop; a full page of 1,000 records has a quarter of it."""
_HIGHEST_COUNT = 10**12
_HEADERS: Final = {
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": f"completion-notifier/{__version__}",
}

Read = TypeVar("Read")
Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list of completions.

    `size` counts the records as they came, the bad ones included. `last_page` and `total` are None where the API did
    not give them, `served_at_ms` (the server's clock, Unix milliseconds) where it has none. `seconds` is how long the
    request took, without the wait for its turn.
    """

    number: int
    limit: int
    size: int
    completions: tuple[Completion, ...]
    bad: tuple[BadRecord, ...]
    last_page: int | None
    total: int | None
    served_at_ms: int | None
    seconds: float

    @property
    def is_last(self) -> bool:
        """Whether the list ends here: by what the API says, or where it does not, by not being full."""
        if self.size == 0:
            return True
        if self.last_page is not None:
            return self.number >= self.last_page
        return self.size < self.limit

    def in_order(self) -> list[Completion | None]:
        """Return the records as they stood on the page, None for one that cannot be read."""
        standing: list[Completion | None] = list(self.completions)
        for bad in self.bad:
            standing.insert(bad.place, None)
        return standing


class Client:
    """Asks one source's API, each request in its turn. Every method raises ApiFailure, and nothing else.

    `rate_limit_exceeded` silences the budget for the source's `rate_limit_pause` before it is raised.
    """

    def __init__(self, session: aiohttp.ClientSession, settings: SourceSettings, budget: RequestBudget) -> None:
        self._session = session
        self._settings = settings
        self._budget = budget
        self._version = API_VERSIONS[settings.api]

    async def page(
        self,
        number: int,
        *,
        limit: int,
        urgency: Urgency,
        user_id: str | None = None,
        training_id: str | None = None,
    ) -> Page:
        """Fetch page `number` (from 1) of `limit` (1..1000) records.

        `user_id` and `training_id` narrow the list, in place of the source's own filters of that name. A page beyond
        the last one, and a list with nothing in it, is an empty page, however the API says so.
        """
        parameters = {"page": number, "limit": limit, **self._filters(user_id, training_id)}
        answer, seconds = await self._exchange(self._version.completions_method, parameters, urgency, _PAGE_LIMIT)
        try:
            return await self._read(
                partial(_read_page, version=self._version, number=number, limit=limit, seconds=seconds), answer
            )
        except ApiFailure as failure:
            narrowed = user_id is not None or training_id is not None
            if not self._says_nothing_there(failure.reason, number, narrowed=narrowed):
                raise
            return Page(number, limit, 0, (), (), None, None, served_at_ms(answer.headers), seconds)

    def people(self, urgency: Urgency = Urgency.NAMES) -> AsyncGenerator[dict[str, Person], None]:
        """Fetch the names of all people, by user id, in batches.

        The list is whole where no ApiFailure ends it. Who may leave before its end closes it (`contextlib.aclosing`).
        """
        return self._names("users.list", people_reader, urgency)

    def trainings(self, urgency: Urgency = Urgency.NAMES) -> AsyncGenerator[dict[str, str], None]:
        """Fetch the titles of all trainings, by training id, in batches, as with `people`."""
        return self._names(self._version.trainings_method, trainings_reader, urgency)

    async def echo(self) -> None:
        """Try the token, harmlessly."""
        # The documentation leaves open whether the object comes back inside the answer or as the answer: as either,
        # this one makes an answer that says `ok`.
        answer, _ = await self._exchange("api.echo", {"response": {"ok": True}}, Urgency.HEAD, _ECHO_LIMIT)
        await self._read(partial(read_object, parse=parse_json), answer)

    def _says_nothing_there(self, reason: Reason, number: int, *, narrowed: bool) -> bool:
        """Tell whether a failure only says that there is no such page, or no record at all.

        The documentation leaves open how a page beyond the last one is answered. With a filter in the configuration,
        `content_not_found` for the first page is a mistake in that filter, and an operator has to hear of it.
        """
        if number > 1:
            return reason in (Reason.CONTENT_NOT_FOUND, Reason.PARAMETER_INVALID)
        return reason is Reason.CONTENT_NOT_FOUND and (narrowed or not self._filters(None, None))

    async def _names(
        self, method: str, reader_of: Callable[[Answer, str], NamesReader[Name]], urgency: Urgency
    ) -> AsyncGenerator[dict[str, Name], None]:
        """Send one request when its turn has come, and hand the names on while the answer arrives."""
        token = self._settings.token.get_secret_value()
        await self._budget.take(urgency)
        try:
            async with stream(
                self._session,
                self._url(method),
                self._body({}),
                headers=_HEADERS,
                timeout=self._settings.timeout,
                limit=_NAMES_LIMIT,
            ) as answer:
                reader = reader_of(answer.head, token)
                while answer.head.status == HTTPStatus.OK and (piece := await answer.read()):
                    reader.feed(piece)
                    if len(reader.names) >= BATCH:
                        yield reader.take()
                    # What has arrived already is read without a pause: the event loop would never get its turn.
                    await asyncio.sleep(0)
            with self._rate_limit_heeded():
                reader.finish()
        except TransportError as error:
            raise no_answer(error, token) from error
        if reader.names:
            yield reader.take()

    async def _exchange(
        self, method: str, parameters: dict[str, Any], urgency: Urgency, limit: int
    ) -> tuple[Answer, float]:
        """Send one request when its turn has come; return the answer and the seconds it took."""
        token = self._settings.token.get_secret_value()
        await self._budget.take(urgency)
        started = asyncio.get_running_loop().time()
        try:
            answer = await post(
                self._session,
                self._url(method),
                self._body(parameters),
                headers=_HEADERS,
                timeout=self._settings.timeout,
                limit=limit,
            )
        except TransportError as error:
            raise no_answer(error, token) from error
        return answer, asyncio.get_running_loop().time() - started

    async def _read(self, read: Callable[[Answer, str], Read], answer: Answer) -> Read:
        """Make of an answer what `read(answer, token)` makes of it."""
        token = self._settings.token.get_secret_value()
        with self._rate_limit_heeded():
            if len(answer.body) <= _READ_AT_ONCE:
                return read(answer, token)
            return await asyncio.to_thread(read, answer, token)

    @contextmanager
    def _rate_limit_heeded(self) -> Iterator[None]:
        """Let the budget hear of it when an answer says that the rate limit is exceeded."""
        try:
            yield
        except ApiFailure as failure:
            if failure.reason is Reason.RATE_LIMIT_EXCEEDED:
                self._budget.rate_limited(self._settings.rate_limit_pause)
            raise

    def _url(self, method: str) -> str:
        return f"{self._settings.base_url.rstrip('/')}/{method}"

    def _body(self, parameters: dict[str, Any]) -> bytes:
        return json.dumps({"token": self._settings.token.get_secret_value(), **parameters}).encode()

    def _filters(self, user_id: str | None, training_id: str | None) -> dict[str, Any]:
        settings = self._settings
        training = training_id or settings.training_id
        filters = {
            "user_id": user_id or settings.user_id or None,
            "training_id": self._version.training_filter(training) if training else None,
            "has_attachments": settings.has_attachments,
        }
        return {name: value for name, value in filters.items() if value is not None}


def _read_page(answer: Answer, token: str, *, version: ApiVersion, number: int, limit: int, seconds: float) -> Page:
    document = read_object(answer, token, parse_json)
    records = list_in(document, "completedtrainings")
    completions, bad = version.parse(records)
    paging = document.get("paging")
    paging = paging if isinstance(paging, dict) else {}
    return Page(
        number=number,
        limit=limit,
        size=len(records),
        completions=tuple(completions),
        bad=tuple(bad),
        last_page=_count(paging.get("last_page")),
        total=_count(paging.get("total")),
        served_at_ms=served_at_ms(answer.headers),
        seconds=seconds,
    )


def _count(value: object) -> int | None:
    if value is None or value == "":
        return None
    number = whole_number(value)
    return number if number is not None and 0 <= number <= _HIGHEST_COUNT else None
