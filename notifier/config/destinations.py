"""The settings that destinations of several types share.

The types are in `webhooks.py`, `message_destinations.py` and `brokers.py`. To add a type, derive a class from
`DestinationSettings` (or from `MessageSettings`, for messages for people), with its own `type`, `address` and
`receiver_identity`. Add it to `Destination` in `destination_types.py`. `ScheduledSettings` adds the keys of a schedule.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import SecretStr

from notifier.config import likely_mistakes
from notifier.config.base_table import BaseTable, default
from notifier.config.durations import Duration
from notifier.config.errors import Problem, problem_if
from notifier.config.schedules import IMMEDIATELY, WEEKDAYS, QuietHoursText, ScheduleText, Weekday, ZoneName
from notifier.config.types import Count, Id, Pattern, ProxyUrl, Rate, SourceName
from notifier.facts import PersonField
from notifier.patterns import is_person_id

CompletionEvent = Literal[
    "completion.created",
    "completion.updated",
    "completion.removed",
    "completion.expiring",
    "completion.expired",
    "completion.renewed",
]
"""The types of events that a destination can receive."""


class DestinationSettings(BaseTable, ABC):
    """The keys of every destination."""

    identity: ClassVar[tuple[str, ...]] = ("type", "url")
    """The keys that identify a destination. If the value of such a key changes, the destination counts as a new one."""
    identity_if_set: ClassVar[tuple[str, ...]] = ()
    """Keys that also identify a destination if they are set. An unset key is not part of the stored identity."""
    address_key: ClassVar[str] = "url"
    """The key that contains the address."""

    events: tuple[CompletionEvent, ...] = ("completion.created", "completion.updated", "completion.removed")
    """The types of events that are sent. Empty: only alerts, if `[alerts] destination` names this destination."""
    sources: tuple[SourceName, ...] = ()
    """Send only events of these sources. Empty: of all."""
    training_ids: tuple[Id, ...] = ()
    """Send only completions of these trainings. Empty: of all."""
    user_ids: tuple[Id, ...] = ()
    """Send only completions of these people. Empty: of all."""
    trainings: tuple[Pattern, ...] = ()
    """Send only completions of trainings with these titles, such as `["Crane*", "!Crane Refresher"]`. Empty: of all."""
    people: tuple[Pattern, ...] = ()
    """Send only completions of people with these employee numbers or ids. Empty: of all."""
    job_titles: tuple[Pattern, ...] = ()
    """Send only completions of people with these job titles. Needs `job_title` in `person_fields`. Empty: of all."""
    field_offices: tuple[Pattern, ...] = ()
    """Send only completions of people in field offices with these ids. Needs `field_office_ids` in `person_fields`.
    Empty: of all."""
    lines_of_business: tuple[Pattern, ...] = ()
    """Send only completions of people in lines of business with these ids. Needs `line_of_business_ids` in
    `person_fields`. Empty: of all."""
    concurrency: Count = 8
    """How many requests may be in progress at the same time. With 1, deliveries start in order."""
    rate: Rate = 0.0
    """The maximum number of requests a second on average; up to one second's worth may be sent at once. 0: no limit."""
    timeout: Duration = default("15s")
    """How long one attempt may take, including the answer's body."""
    retry_first: Duration = default("5s")
    """The longest wait after the first failed attempt. This limit doubles with each further failure; the actual wait is
    random, up to the limit. While the destination as a whole fails, it is tried after about a second at first, and at
    least every five minutes."""
    retry_max: Duration = default("6h")
    """The longest wait between two attempts, unless the receiver asks for a longer one (`Retry-After`, at most a
    day)."""
    give_up_after: Duration = default("3d")
    """If every attempt of an event fails, the event is given up this long after the first one. No further attempt
    follows, but the event is kept (`notifier deliveries --state dead`), and `notifier retry` sends it again. Time in
    which the notifier is stopped or the destination is disabled does not count. Raise the value if the receiver can be
    down longer."""

    @abstractmethod
    def address(self) -> str:
        """Return the address that events go to, without any secret."""

    @abstractmethod
    def receiver_identity(self) -> object:
        """Return values that identify the receiver. Two destinations with equal values have the same receiver."""

    def public_urls(self) -> Iterator[str]:
        """Yield the URLs in which only a password is secret. The password is not removed."""
        yield from ()

    def further_secrets(self) -> Iterator[str]:
        """Yield parts of secrets, such as values within a connection string.

        Each part must be hidden even where it occurs without the rest of the secret, for example in an answer of the
        receiver.
        """
        yield from ()

    def filters(self) -> tuple[tuple[str, ...], ...]:
        """Return the values of all keys that decide which events are sent."""
        return (
            self.events,
            self.sources,
            self.training_ids,
            self.user_ids,
            self.trainings,
            self.people,
            self.job_titles,
            self.field_offices,
            self.lines_of_business,
        )

    def facts_needed(self) -> Iterator[tuple[str, PersonField | None]]:
        """Yield the key of each filter that needs looked-up data, and the fact about a person that the filter compares.

        For the filter that compares titles of trainings, the fact is None.
        """
        if self.trainings:
            yield "trainings", None
        if self.people and not all(map(is_person_id, self.people)):
            yield "people", PersonField.EMPLOYEE_NUMBER
        if self.job_titles:
            yield "job_titles", PersonField.JOB_TITLE
        if self.field_offices:
            yield "field_offices", PersonField.FIELD_OFFICE_IDS
        if self.lines_of_business:
            yield "lines_of_business", PersonField.LINE_OF_BUSINESS_IDS

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys; `Problem.key` is relative to this table."""
        if self.retry_max < self.retry_first:
            yield Problem("retry_max", "must be at least as long as retry_first")

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        for key, identifiers in (("training_ids", self.training_ids), ("user_ids", self.user_ids)):
            for place, identifier in enumerate(identifiers):
                yield from problem_if(f"{key}[{place}]", likely_mistakes.of_id(identifier))
        for key in ("trainings", "people", "job_titles", "field_offices", "lines_of_business"):
            yield from problem_if(key, likely_mistakes.of_patterns(getattr(self, key)))


class WebSettings(DestinationSettings):
    """The keys of every destination that is reached by HTTP."""

    identity_if_set: ClassVar[tuple[str, ...]] = ("proxy",)

    proxy: ProxyUrl = default("")
    """The URL of an HTTP proxy that requests go through; it may contain a user name and a password. Empty: that of
    `HTTPS_PROXY` or `HTTP_PROXY`, if it is set. `none`: no proxy."""

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        yield from super().warnings()
        yield from problem_if("proxy", likely_mistakes.of_proxy(self.proxy.get_secret_value()))


class ScheduledSettings(DestinationSettings):
    """The keys of every type of destination that can postpone messages to certain hours and days."""

    only_with_slots: ClassVar[tuple[str, ...]] = ("timezone", "urgent")
    """The keys that have no effect unless `has_slots` is true."""

    type: str
    """The type of destination."""
    url: SecretStr
    """The address that events are sent to."""

    schedule: ScheduleText = IMMEDIATELY
    """When events are sent: `immediately`, `daily 08:00`, `weekly mon 08:00`, or the five fields of cron (minute, hour,
    day, month, weekday). All events since the previous such time are sent together."""
    timezone: ZoneName = ""
    """The IANA name of the time zone for `schedule`, `quiet_hours` and `quiet_days`, and for the times in messages for
    people. Empty: the machine's."""
    quiet_hours: QuietHoursText = ""
    """The hours of each day in which nothing is sent, such as `20:00-06:00`. All events of these hours are sent
    together at their end."""
    quiet_days: tuple[Weekday, ...] = ()
    """The days on which nothing is sent, such as `["sat", "sun"]`."""
    urgent: tuple[CompletionEvent, ...] = ()
    """The types of events that are sent at once, whatever `schedule`, `quiet_hours` and `quiet_days` say."""

    @property
    def has_slots(self) -> bool:
        """Whether `schedule`, `quiet_hours` or `quiet_days` can postpone deliveries."""
        return self.schedule != IMMEDIATELY or bool(self.quiet_hours or self.quiet_days)

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys; `Problem.key` is relative to this table."""
        yield from super().conflicts()
        if len(set(self.quiet_days)) == len(WEEKDAYS):
            yield Problem("quiet_days", "names every day, so nothing would ever be sent: leave one out")

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        yield from super().warnings()
        if not self.has_slots:
            for key in self.only_with_slots:
                if getattr(self, key) != type(self).model_fields[key].default:
                    yield Problem(key, "has no effect without schedule, quiet_hours or quiet_days")
        elif unsent := [kind for kind in self.urgent if kind not in self.events]:
            yield Problem("urgent", f"names {', '.join(unsent)}, which `events` leaves out, so it is never sent")
