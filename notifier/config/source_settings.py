"""The settings of a source: one account of the API that is watched."""

import re
from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, PlainSerializer, PlainValidator

from notifier.config import likely_mistakes
from notifier.config.base_table import BaseTable, default
from notifier.config.durations import Duration, DurationText, format_duration, parse_duration
from notifier.config.errors import InvalidValue, Problem, problem_if
from notifier.config.types import (
    BaseUrl,
    Count,
    CountUpTo1000,
    Id,
    ProxyUrl,
    ReadableFile,
    RecordsOrShare,
    Share,
    Text,
    Token,
)
from notifier.facts import PersonField, fields_to_look_up
from notifier.suggest import nearest

_SHARED_REQUESTS_PER_MINUTE: Final = 80
"""The API's limit of requests per minute, which all integrations of a customer share (KPA Flex API documentation)."""

_REQUESTS_OF_A_POLL: Final = 2
"""The requests of one head poll: one for the page and one for the count."""

_MAX_POLL_SHARE: Final = 0.8
"""If polls need more than this share of `requests_per_minute`, polls are often late."""


class ApiVersion(StrEnum):
    """The documented versions of the method that lists completions."""

    V1 = "v1"
    V2 = "v2"


class FirstRun(StrEnum):
    """Whether to report the records that the account contained before it was first read: none of them, or all."""

    SILENT = "silent"
    NOTIFY = "notify"


class ExpiryDates(StrEnum):
    """The origin of the expiry dates in announcements: the records, or the account's employee status list."""

    RECORDS = "records"
    EMPLOYEE_STATUS = "employee_status"


_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _parse_first_run(written: object) -> FirstRun | date:
    """Return the value of `first_run`: one of two words, or a date (text or a TOML date). Raises InvalidValue."""
    if isinstance(written, date) and not isinstance(written, datetime):
        return written
    words = {word.value: word for word in FirstRun}
    text = written if isinstance(written, str) else ""
    if text in words:
        return words[text]
    if _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise InvalidValue("is not a valid date") from None
    likely = nearest(text, words)
    meant = f"; did you mean `{likely}`?" if likely else ""
    raise InvalidValue(f'must be "silent", "notify", or a date such as "2026-01-01"{meant}')


def _parse_confirm_after(written: object) -> float:
    seconds = parse_duration(written)
    if seconds < 1:
        raise InvalidValue('must be at least "1s", because a second look at the same moment proves nothing more')
    return seconds


ConfirmAfter = Annotated[
    float,
    PlainValidator(_parse_confirm_after, json_schema_input_type=DurationText),
    PlainSerializer(format_duration, return_type=str),
]
"""A duration of at least a second."""


class SourceSettings(BaseTable):
    """One account of the API that is watched."""

    api: ApiVersion = ApiVersion.V2
    """The version of the API: `v2` reads completedtrainings.v2.list, `v1` reads completedtrainings.list."""
    base_url: BaseUrl = "https://api.kpaehs.com/v1"
    """The URL of the API, without the names of its methods."""
    token: Token
    """The API token. It gives the same access as an administrator's password."""
    poll_interval: Duration = default("60s")
    """How often the newest records are read."""
    page_size: CountUpTo1000 = 100
    """How many records a poll reads at once. Sweeps read 1000 at once."""
    sweep_interval: Duration = default("24h")
    """How often the whole list is read."""
    hold_removals_above: Share = 0.05
    """If more than 20 records seem to be removed at once, and they are more than this share of the known records,
    nothing is sent about them: they are held back, and an alert says so. `notifier release` reports them. 1: removals
    are never held back."""
    hold_arrivals_above: RecordsOrShare = 200
    """How many old records may be reported at once: records that were entered before the notifier first read the
    account but appear only now, as after an import or with a new permission. If there are more, they are held back like
    removals. A value of 1 or more is a number of records; a smaller value is a share of the known records. 20 records
    or fewer are never held back. Raise the value before an import that should be reported."""
    hold_changes_above: RecordsOrShare = 0.05
    """If the same field changes in more records than this at once, the changes are held back like removals. A value of
    1 or more is a number of records; a smaller value is a share of the known records. Changes of 20 records or fewer
    are never held back."""
    confirm_after: ConfirmAfter = default("5m")
    """How long to wait before a second request checks that a record was removed, has come back, or has changed back to
    earlier content. Such a change is reported only if both answers agree, because a server of the API with outdated
    data shows such changes, too. Raise the value if false reports arrive. At least `1s`."""
    first_run: Annotated[
        FirstRun | date,
        PlainValidator(
            _parse_first_run,
            json_schema_input_type=FirstRun | Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")],
        ),
        PlainSerializer(str, return_type=str),
    ] = FirstRun.SILENT
    """Which existing completions are reported when the notifier reads the account for the first time: none (`silent`),
    all (`notify`), or those entered on this date (UTC) or later. Choose the value before the first run: it has no
    effect once the whole list has been read."""
    requests_per_minute: Count = 30
    """The maximum number of requests a minute. The API allows about 80 for all integrations of a customer together."""
    rate_limit_pause: Duration = default("60s")
    """How long all requests are paused after the API answers `rate_limit_exceeded`."""
    timeout: Duration = default("30s")
    """How long one request may take."""
    proxy: ProxyUrl = default("")
    """The URL of an HTTP proxy that requests go through; it may contain a user name and a password. Empty: that of
    `HTTPS_PROXY`, if it is set. `none`: no proxy."""
    ca_file: ReadableFile = default("")
    """A file with the certificates (PEM) of a private certificate authority, which is trusted instead of the
    system's."""
    names: bool = True
    """Whether to look up the names of people and trainings, and the facts in `person_fields`."""
    person_fields: tuple[PersonField, ...] = (PersonField.EMPLOYEE_NUMBER,)
    """The facts about people that are stored and that events contain. Only two other facts may be stored: with
    `job_title`, the id by which the title is found; with `expiry`, the date on which a person left. `job_title` takes
    one more request a day."""
    expiry: bool = False
    """Whether to announce that completions expire (`completion.expiring`, `completion.expired`), and later that such an
    announcement no longer holds (`completion.renewed`). Destinations whose `events` contain these types get the
    announcements. If this is on, the date on which a person left is stored, because nothing is announced about people
    who have left."""
    expiring_within: Duration | None = None
    """How long before its expiry date a completion is announced as expiring. Not set: the number of days that the
    account states for the training, or 30 days if it states none."""
    expiry_dates: ExpiryDates = ExpiryDates.RECORDS
    """Where the expiry dates of announcements come from. `records`: from the record or the training's renewal rule.
    `employee_status`: from the account's employee status list, which shows until when each person's trainings are
    valid; if the list has no date, as with `records`. Choose `employee_status` if KPA Flex shows other dates than the
    announcements. It needs `api = "v2"`. The list is read once a day, with one request for every 500 people."""
    id_namespace: Text = ""
    """The text that the ids of this source's events are derived from. Empty: the source's name. If you rename a source,
    set it to the old name to keep the ids."""
    training_id: Id | None = None
    """Watch only completions of this training."""
    user_id: Id | None = None
    """Watch only completions of this person."""
    has_attachments: bool | None = None
    """Watch only completions with (`true`) or without (`false`) attachments. Needs `api = "v2"`."""

    def shown_person_fields(self) -> frozenset[PersonField]:
        """Return the facts about people that events contain."""
        return frozenset(self.person_fields)

    def stored_person_fields(self) -> frozenset[PersonField]:
        """Return the facts about people that are stored."""
        return fields_to_look_up(self.person_fields) | ({PersonField.TERMINATED_ON} if self.expiry else set())

    def why_unfilterable_by(self, fact: PersonField | None) -> str:
        """Return why events of this source cannot be filtered by `fact`; "" if they can.

        `fact` is a fact about people; None means the training title. In the returned text, `{source}` is a placeholder
        for the dotted key of the source (`sources.NAME`).
        """
        if not self.names:
            return "needs names, but {source} has names = false: set it to true"
        if fact is not None and fact not in self.person_fields:
            return f'needs "{fact}" in person_fields of {{source}}, which decides what is stored about people'
        return ""

    def namespace(self, name: str) -> str:
        """Return `id_namespace` or, if it is empty, the source's `name`; event ids are derived from this text."""
        return self.id_namespace or name

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys; `Problem.key` is relative to this table."""
        if self.has_attachments is not None and self.api is ApiVersion.V1:
            yield Problem("has_attachments", 'exists only in v2 of the API; remove it, or set api = "v2"')
        if self.expiry_dates is ExpiryDates.EMPLOYEE_STATUS and self.api is ApiVersion.V1:
            yield Problem(
                "expiry_dates",
                'can be "employee_status" only in v2 of the API, because that list has its ids of trainings; remove it,'
                ' or set api = "v2"',
            )
        if self.expiry and not self.names:
            yield Problem("expiry", "needs names = true: the lists say who has left, and how long trainings are valid")

    def warnings(self, today: date) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `today` is the date in UTC.

        `Problem.key` is relative to this table.
        """
        yield from problem_if("token", likely_mistakes.of_secret(self.token.get_secret_value()))
        yield from problem_if("proxy", likely_mistakes.of_proxy(self.proxy.get_secret_value()))
        if self.ca_file:
            yield from problem_if("ca_file", likely_mistakes.of_certificate_file(self.ca_file))
        for key, identifier in (("training_id", self.training_id), ("user_id", self.user_id)):
            if identifier is not None:
                yield from problem_if(key, likely_mistakes.of_id(identifier))
        if isinstance(self.first_run, date) and self.first_run > today:
            yield Problem("first_run", "is in the future: nothing that is entered before that date is reported")
        if not self.expiry:
            if self.expiry_dates is ExpiryDates.EMPLOYEE_STATUS:
                yield Problem("expiry_dates", "has no effect without expiry = true")
            if self.expiring_within is not None:
                yield Problem("expiring_within", "has no effect without expiry = true")
        if self.requests_per_minute > _SHARED_REQUESTS_PER_MINUTE:
            yield Problem(
                "requests_per_minute",
                f"is more than the about {_SHARED_REQUESTS_PER_MINUTE} requests a minute that the API allows all"
                " integrations together",
            )
        polls = 60 / self.poll_interval * _REQUESTS_OF_A_POLL
        if polls > self.requests_per_minute * _MAX_POLL_SHARE:
            yield Problem(
                "poll_interval",
                f"needs up to {polls:g} of the {self.requests_per_minute} requests_per_minute: polls will be late,"
                " and sweeps and names slow; make it longer, or requests_per_minute higher",
            )
