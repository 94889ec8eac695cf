"""The settings of the whole program, as the configuration tells them.

Each key's default stands here and nowhere else; `config.example.toml` repeats them under a test's eye.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, PlainSerializer, PlainValidator

from notifier.config.addresses import is_plain_beyond_loopback
from notifier.config.destinations import Destination
from notifier.config.durations import Duration
from notifier.config.problems import Problem, Wrong, dotted
from notifier.config.suggestions import nearest
from notifier.config.tables import Table, default
from notifier.config.values import (
    BaseUrl,
    Count,
    CountUpTo1000,
    Id,
    ListenAddress,
    Name,
    OptionalDestinationName,
    OptionalToken,
    OptionalUrl,
    Share,
    StateFile,
    Text,
    Token,
)

_SHARED_REQUESTS_PER_MINUTE: Final = 80
"""What the API allows all integrations of a customer together (KPA Flex API documentation, rate limits)."""

_REQUESTS_OF_A_POLL: Final = 2
"""The page, and the count check."""

_MOST_FOR_POLLS: Final = 0.8
"""The part of the requests that head polls can take without being held back for the sake of all others."""


class LogLevel(StrEnum):
    """The least important messages that are still logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


class ApiVersion(StrEnum):
    """The documented versions of the method that lists completions."""

    V1 = "v1"
    V2 = "v2"


class FirstRun(StrEnum):
    """What happens to the records that exist when a source is first met."""

    SILENT = "silent"
    NOTIFY = "notify"


_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _first_run(written: object) -> FirstRun | date:
    """Read `first_run`: one of the words, or a date, quoted or TOML's own. Raises Wrong."""
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
            raise Wrong("is not a day of the calendar") from None
    likely = nearest(text, words)
    meant = f"; did you mean `{likely}`?" if likely else ""
    raise Wrong(f'must be "silent", "notify", or a date such as "2026-01-01"{meant}')


class StoreSettings(Table):
    """The state file."""

    path: StateFile = default("")
    """The SQLite file; empty: $STATE_DIRECTORY/notifier.db, else notifier/notifier.db in the user's state directory."""
    retention: Duration = default("90d")
    """How long delivered events and their deliveries are kept; what was recorded as known stays."""


class LogSettings(Table):
    """What is logged, and how."""

    level: LogLevel = LogLevel.INFO
    """The least important messages that are logged."""
    format: LogFormat = LogFormat.AUTO
    """`auto`: text on a terminal, journal priorities under systemd."""


class HttpInterfaceSettings(Table):
    """The local HTTP interface: status, metrics, the feed of events, the dashboard."""

    listen: ListenAddress = default("127.0.0.1:8787")
    """Where to listen: host:port, unix:/absolute/path, or empty for nowhere."""
    token: OptionalToken = default("")
    """The bearer token to ask for; required when other machines can connect."""

    def conflicts(self) -> Iterator[Problem]:
        """Yield what does not go together; keys start at this table."""
        if self.listen is not None and not self.listen.loopback and not self.token.get_secret_value():
            yield Problem("token", "is required when `listen` lets other machines connect (openssl rand -hex 32)")


class AlertSettings(Table):
    """Operational notices: the notifier's own troubles."""

    destination: OptionalDestinationName = ""
    """The destination they go to; empty: only to the log and the status."""
    heartbeat_url: OptionalUrl = default("")
    """Fetched after every successful round: a dead man's switch; the URL is a secret."""


class SourceSettings(Table):
    """One account of the API, watched."""

    api: ApiVersion = ApiVersion.V2
    """`v2`: completedtrainings.v2.list, `v1`: completedtrainings.list."""
    base_url: BaseUrl = "https://api.kpaehs.com/v1"
    """Where the API's methods are."""
    token: Token
    """The API token: as good as an administrator's password."""
    poll_interval: Duration = default("60s")
    """How often the head of the list is read."""
    page_size: CountUpTo1000 = 100
    """Records on a page of a head poll; sweeps read 1000 at a time."""
    sweep_interval: Duration = default("24h")
    """How often the whole list is read."""
    hold_removals_above: Share = 0.05
    """More removals suspected at once than this share of the known records, and than 20, are held back; 1: never."""
    first_run: Annotated[
        FirstRun | date,
        PlainValidator(
            _first_run,
            json_schema_input_type=FirstRun | Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")],
        ),
        PlainSerializer(str, return_type=str),
    ] = FirstRun.SILENT
    """What existing records are: known (`silent`), news (`notify`), or news when entered since a date (UTC)."""
    requests_per_minute: Count = 30
    """The share of the about 80 requests a minute that all integrations of the customer have together."""
    rate_limit_pause: Duration = default("60s")
    """The silence after `rate_limit_exceeded`."""
    timeout: Duration = default("30s")
    """The time one request may take."""
    names: bool = True
    """Whether to look up people's and trainings' names."""
    id_namespace: Text = ""
    """What the ids of this source's events are derived from; empty: the source's name."""
    training_id: Id | None = None
    """Only completions of this training."""
    user_id: Id | None = None
    """Only completions of this person."""
    has_attachments: bool | None = None
    """Only completions with (true) or without (false) attachments; `v2` only."""

    def namespace(self, name: str) -> str:
        """Return what event ids are derived from: `id_namespace`, else the source's `name`."""
        return self.id_namespace or name

    def conflicts(self) -> Iterator[Problem]:
        """Yield what does not go together; keys start at this table."""
        if self.has_attachments is not None and self.api is ApiVersion.V1:
            yield Problem("has_attachments", 'exists in the API\'s v2 only; remove it, or set api = "v2"')

    def warnings(self) -> Iterator[Problem]:
        """Yield what is allowed but probably not meant; keys start at this table."""
        if self.requests_per_minute > _SHARED_REQUESTS_PER_MINUTE:
            yield Problem(
                "requests_per_minute",
                f"is more than the about {_SHARED_REQUESTS_PER_MINUTE} that the API allows all integrations together",
            )
        polls = 60 / self.poll_interval * _REQUESTS_OF_A_POLL
        if polls > self.requests_per_minute * _MOST_FOR_POLLS:
            yield Problem(
                "poll_interval",
                f"takes up to {polls:g} of the {self.requests_per_minute} requests_per_minute: polls will be late, and"
                " sweeps and names slow; make it longer, or requests_per_minute higher",
            )


class Settings(Table):
    """The configuration of Completion Notifier."""

    store: StoreSettings = default({})
    """The state file."""
    log: LogSettings = default({})
    """What is logged, and how."""
    http: HttpInterfaceSettings = default({})
    """The local HTTP interface."""
    alerts: AlertSettings = default({})
    """Operational notices."""
    sources: Annotated[dict[Name, SourceSettings], Field(min_length=1)]
    """The accounts that are watched, by name."""
    destinations: dict[Name, Destination] = default({})
    """Who is told, by name."""

    def conflicts(self) -> Iterator[Problem]:
        """Yield what does not go together."""
        owners: dict[str, str] = {}
        # Names differ, so of two sources in conflict one at least has an id_namespace: that one comes last.
        for name, source in sorted(self.sources.items(), key=lambda item: bool(item[1].id_namespace)):
            owner = owners.setdefault(source.namespace(name), name)
            if owner != name:
                message = f"makes the same event ids as source `{owner}`; each source needs a namespace of its own"
                yield Problem(dotted(("sources", name, "id_namespace")), message)

    def warnings(self) -> tuple[Problem, ...]:
        """Return what is allowed but probably not meant."""
        return tuple(self._warnings())

    def _warnings(self) -> Iterator[Problem]:
        if is_plain_beyond_loopback(self.alerts.heartbeat_url.get_secret_value()):
            yield Problem("alerts.heartbeat_url", "is http://: it crosses the network unencrypted; use https://")
        if not self.destinations:
            yield Problem("destinations", "there are none: completions are recorded, and nobody is told")
        for name, source in self.sources.items():
            yield from _below(("sources", name), source.warnings())
        for name, destination in self.destinations.items():
            yield from _below(("destinations", name), destination.warnings())
            if not destination.events and name != self.alerts.destination:
                yield Problem(dotted(("destinations", name, "events")), "is empty: nothing is ever sent there")


def _below(path: tuple[str, ...], problems: Iterator[Problem]) -> Iterator[Problem]:
    for problem in problems:
        yield Problem(f"{dotted(path)}.{problem.key}", problem.message)
