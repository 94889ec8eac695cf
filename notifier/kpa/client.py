"""The client of the KPA Flex API: one method for each kind of request."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from notifier.config import SourceSettings
from notifier.events import Completion
from notifier.http.exchange import Answer
from notifier.http.transport_errors import TransportError
from notifier.kpa import usual_pages
from notifier.kpa.employee_status import METHOD as STATUS_METHOD
from notifier.kpa.employee_status import StatusPage, read_status_page
from notifier.kpa.errors import ApiError, ApiErrorReason, no_answer_error
from notifier.kpa.exchange import Exchange
from notifier.kpa.name_stream import (
    BATCH,
    ListedTraining,
    NamesReader,
    Person,
    job_titles_reader,
    people_reader,
    trainings_reader,
)
from notifier.kpa.rate_limiter import Priority, RateLimiter
from notifier.kpa.responses import get_list, get_paging, parse_count, parse_json, read_object, served_at_ms
from notifier.kpa.usual_pages import NewestPage, UsualPage
from notifier.kpa.versions import API_VERSIONS, InvalidRecord, RecordFormat, SkimmedRecords

_MIB = 1024 * 1024
_PAGE_LIMIT_BYTES = 32 * _MIB
_NAMES_LIMIT_BYTES = 256 * _MIB
_ECHO_LIMIT_BYTES = 1 * _MIB
_READ_AT_ONCE_BYTES = 1 * _MIB
"""Bodies up to this many bytes are parsed in the event loop; a full page of 1,000 records has about 256 KiB."""

_LARGE_PAGE_BYTES = 64 * 1024
"""Pages of at least this many bytes are parsed by `usual_pages`. Pages of any size can be skimmed."""

Read = TypeVar("Read")
Name = TypeVar("Name")


class Page(Struct, frozen=True):
    """One page of the list of completions."""

    number: int
    limit: int
    size: int
    """The number of records received, including the unreadable ones in `bad`."""
    completions: tuple[Completion, ...]
    bad: tuple[InvalidRecord, ...]
    last_page: int | None
    """The number of the last page; None if the API did not state it."""
    total: int | None
    """The number of all records; None if the API did not state it."""
    served_at_ms: int | None
    """The server's time (Unix ms); None if the API did not state it."""
    requested_at: float
    """When the request was sent, in monotonic seconds of the event loop. Later changes may be missing from the page."""
    seconds: float
    """How long the request took, without the wait for the rate limiter."""
    parts: int = 1
    """The number of requests that were needed for the page; the list may have changed between them."""
    skimmed: SkimmedRecords | None = None
    """The keys and days, if only these were read; `completions` is then empty. `parsed` reads the completions."""

    def parsed(self) -> "Page":
        """Return the page with its completions."""
        if self.skimmed is None:
            return self
        completions, bad = self.skimmed.parse()
        return replace(self, completions=tuple(completions), bad=tuple(bad), skimmed=None)

    @property
    def keys(self) -> Sequence[str]:
        """The key of each readable record, in page order."""
        if self.skimmed is not None:
            return self.skimmed.keys
        return [completion.key for completion in self.completions]

    @property
    def days(self) -> Sequence[str | None]:
        """The completion date of each readable record (`YYYY-MM-DD`), in page order."""
        if self.skimmed is not None:
            return self.skimmed.days
        return [completion.completed_on for completion in self.completions]

    @property
    def raws(self) -> Sequence[bytes]:
        """The JSON of each readable record, in page order."""
        if self.skimmed is not None:
            return self.skimmed.raws
        return [completion.raw for completion in self.completions]

    @property
    def is_last(self) -> bool:
        """Whether this is the last page. If the API states no last page, a page that is not full is the last one."""
        if self.size == 0:
            return True
        if self.last_page is not None:
            return self.number >= self.last_page
        return self.size < self.limit

    def in_order(self) -> list[Completion | None]:
        """Return the records in page order, with None for each unreadable one."""
        records: list[Completion | None] = list(self.completions)
        for bad in self.bad:
            records.insert(bad.place, None)
        return records


class _TimedAnswer(Struct, frozen=True):
    """An answer with its timing.

    `requested_at` is when the request was sent (monotonic seconds), and `seconds` is how long the request took.
    `served_at_ms` is the server's clock (Unix milliseconds); None if the answer does not state it.
    """

    answer: Answer
    requested_at: float
    seconds: float
    served_at_ms: int | None


class Client:
    """Sends requests to the API of one source, through its rate limiter.

    Every method raises only ApiError. Before `rate_limit_exceeded` is raised, the rate limiter is stopped for the
    source's `rate_limit_pause`.
    """

    def __init__(
        self,
        exchange: Exchange,
        settings: SourceSettings,
        budget: RateLimiter,
        on_served: Callable[[int | None], None] = lambda _served_at_ms: None,
    ) -> None:
        """Initialise with shared objects; `on_served` gets the server's clock (Unix ms, or None) from each answer."""
        self._exchange = exchange
        self._on_served = on_served
        self._settings = settings
        self._budget = budget
        self._version = API_VERSIONS[settings.api]
        self._newest_page = NewestPage(self._version)
        self._own_filters = _own_filters(settings, self._version)

    async def page(
        self,
        number: int,
        *,
        limit: int,
        priority: Priority,
        user_id: str | None = None,
        training_id: str | None = None,
        skim: bool = False,
    ) -> Page:
        """Return page `number` (from 1) of `limit` (1..1000) records.

        `user_id` and `training_id` narrow the list, and replace the source's own filters of the same name. For a number
        beyond the last page, an empty page is returned, even if the API answers with an error. With `skim`, only the
        keys and days of the records are read, if possible.
        """
        parameters = {"page": number, "limit": limit, **self._own_filters}
        if user_id:
            parameters["user_id"] = user_id
        if training_id:
            parameters["training_id"] = self._version.training_filter(training_id)
        asked = await self._ask(self._version.completions_method, parameters, priority, _PAGE_LIMIT_BYTES)
        read_usual = partial(usual_pages.skim, version=self._version) if skim else self._parse_large
        if skim and number == 1 and priority is Priority.HEAD:
            read_usual = self._newest_page.skim
        try:
            return await self._read(
                partial(
                    _read_page, version=self._version, number=number, limit=limit, asked=asked, read_usual=read_usual
                ),
                asked.answer,
            )
        except ApiError as failure:
            narrowed = user_id is not None or training_id is not None
            if not self._means_empty_page(failure.reason, number, narrowed=narrowed):
                raise
            return Page(
                number,
                limit,
                size=0,
                completions=(),
                bad=(),
                last_page=None,
                total=None,
                served_at_ms=asked.served_at_ms,
                requested_at=asked.requested_at,
                seconds=asked.seconds,
            )

    def people(self, priority: Priority = Priority.NAMES) -> AsyncGenerator[dict[str, Person], None]:
        """Yield the names and the chosen facts of all people, by user id, in batches.

        If the generator ends without ApiError, the list is complete. A caller that may stop early must close the
        generator with `contextlib.aclosing`.
        """
        reader = partial(people_reader, fields=self._settings.stored_person_fields())
        return self._names("users.list", reader, priority)

    def trainings(self, priority: Priority = Priority.NAMES) -> AsyncGenerator[dict[str, ListedTraining], None]:
        """Yield the titles and facts of all trainings, by training id, in batches, as `people` does."""
        return self._names(self._version.trainings_method, trainings_reader, priority)

    def job_titles(self, priority: Priority = Priority.NAMES) -> AsyncGenerator[dict[str, str], None]:
        """Yield all job titles, by their ids, in batches, as `people` does."""
        return self._names("jobtitles.list", job_titles_reader, priority)

    async def employee_status(self, number: int, *, limit: int, priority: Priority = Priority.NAMES) -> StatusPage:
        """Return page `number` (from 1) of the employee status list, with `limit` (1..1000) people.

        For a number beyond the last page, an empty page is returned, even if the API answers with an error.
        """
        settings = self._settings
        parameters: dict[str, Any] = {"page": number, "limit": limit, "include_all_completions": True}
        if settings.training_id:
            parameters["training_ids"] = [self._version.training_filter(settings.training_id)]
        if settings.user_id:
            parameters["m_user_ids"] = [settings.user_id]
        asked = await self._ask(STATUS_METHOD, parameters, priority, _PAGE_LIMIT_BYTES)
        try:
            return await self._read(partial(read_status_page, number=number, limit=limit), asked.answer)
        except ApiError as failure:
            if number == 1 or not self._means_empty_page(failure.reason, number, narrowed=False):
                raise
            return StatusPage({}, is_last=True)

    async def echo(self) -> None:
        """Test the token with a request that changes nothing (the method `api.echo`)."""
        # The documentation does not say whether the API returns `response` as a field of its answer or as the whole
        # answer. With this value, the answer says `ok` in both cases.
        asked = await self._ask("api.echo", {"response": {"ok": True}}, Priority.HEAD, _ECHO_LIMIT_BYTES)
        await self._read(partial(read_object, parse=parse_json), asked.answer)

    def _means_empty_page(self, reason: ApiErrorReason, number: int, *, narrowed: bool) -> bool:
        """Return whether an error only means that the page does not exist, or that the list is empty.

        The documentation leaves open how the API answers in two cases: for a page after the last one, and for a list
        that the caller has `narrowed` to a deleted person or training. In these cases, two errors mean an empty page.
        In all other cases, only `content_not_found` means an empty list, and only if the source has no filters. If the
        source has filters, one of them is wrong, and the operator has to see the error.
        """
        if number > 1 or narrowed:
            return reason in (ApiErrorReason.CONTENT_NOT_FOUND, ApiErrorReason.PARAMETER_INVALID)
        return reason is ApiErrorReason.CONTENT_NOT_FOUND and not self._own_filters

    async def _names(
        self, method: str, reader_of: Callable[[Answer, str], NamesReader[Name]], priority: Priority
    ) -> AsyncGenerator[dict[str, Name], None]:
        """Wait for the rate limiter, send one request, and yield the names while the answer arrives."""
        token = self._settings.token.get_secret_value()
        await self._budget.wait_for_turn(priority)
        try:
            async with self._exchange.stream(method, {}, limit_bytes=_NAMES_LIMIT_BYTES) as answer:
                reader = reader_of(answer.head, token)
                while answer.head.status == HTTPStatus.OK and (piece := await answer.read()):
                    reader.feed(piece)
                    if len(reader.names) >= BATCH:
                        yield reader.take()
                    # Reading data that has already arrived does not suspend this task, so this line lets other tasks
                    # run.
                    await asyncio.sleep(0)
            reader.finish()
        except TransportError as error:
            raise no_answer_error(error, token) from error
        except ApiError as failure:
            self._heed_rate_limit(failure)
            raise
        if reader.names:
            yield reader.take()

    async def _ask(self, method: str, parameters: dict[str, Any], priority: Priority, limit_bytes: int) -> _TimedAnswer:
        """Wait for the rate limiter, send one request, and return the answer."""
        await self._budget.wait_for_turn(priority)
        loop = asyncio.get_running_loop()
        requested_at = loop.time()
        try:
            answer = await self._exchange(method, parameters, limit_bytes=limit_bytes)
        except TransportError as error:
            raise no_answer_error(error, self._settings.token.get_secret_value()) from error
        served_ms = served_at_ms(answer.headers)
        self._on_served(served_ms)
        return _TimedAnswer(answer, requested_at, loop.time() - requested_at, served_ms)

    async def _read(self, read: Callable[[Answer, str], Read], answer: Answer) -> Read:
        """Return the result of `read(answer, token)`. If the body is large, `read` is called in a thread."""
        token = self._settings.token.get_secret_value()
        try:
            if len(answer.body) <= _READ_AT_ONCE_BYTES:
                return read(answer, token)
            return await asyncio.to_thread(read, answer, token)
        except ApiError as failure:
            self._heed_rate_limit(failure)
            raise

    def _heed_rate_limit(self, failure: ApiError) -> None:
        """Reduce the request rate if the API has said `rate_limit_exceeded`."""
        if failure.reason is ApiErrorReason.RATE_LIMIT_EXCEEDED:
            self._budget.reduce_rate(self._settings.rate_limit_pause)

    def _parse_large(self, body: bytes) -> UsualPage | None:
        return usual_pages.parse(body, self._version) if len(body) >= _LARGE_PAGE_BYTES else None


def _own_filters(settings: SourceSettings, version: RecordFormat) -> dict[str, Any]:
    """Return the filters in a source's configuration as parameters of its requests."""
    filters = {
        "user_id": settings.user_id or None,
        "training_id": version.training_filter(settings.training_id) if settings.training_id else None,
        "has_attachments": settings.has_attachments,
    }
    return {name: value for name, value in filters.items() if value is not None}


def _read_page(
    answer: Answer,
    token: str,
    *,
    version: RecordFormat,
    number: int,
    limit: int,
    asked: _TimedAnswer,
    read_usual: Callable[[bytes], UsualPage | None],
) -> Page:
    usual = read_usual(answer.body) if answer.status == HTTPStatus.OK else None
    document = read_object(answer, token, parse_json) if usual is None else {"paging": usual.paging}
    paging = get_paging(document)
    if usual is None:
        records = get_list(document, "completedtrainings")
        completions, bad = version.parse(records)
        usual = UsualPage(len(records), paging, completions)
    else:
        bad = []
    return Page(
        number=number,
        limit=limit,
        size=usual.size,
        completions=tuple(usual.completions),
        bad=tuple(bad),
        last_page=parse_count(paging.get("last_page")),
        total=parse_count(paging.get("total")),
        served_at_ms=asked.served_at_ms,
        requested_at=asked.requested_at,
        seconds=asked.seconds,
        skimmed=usual.skimmed,
    )
