"""The settings of the whole program, as the configuration gives them.

Each key's default is defined here only; `config.example.toml` repeats the defaults, and a test checks that they agree.
"""

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, PrivateAttr, SecretStr

from notifier.config.base_table import BaseTable, default
from notifier.config.database_url import is_unverified_beyond_loopback
from notifier.config.destination_types import Destination
from notifier.config.destinations import WebSettings
from notifier.config.durations import Duration
from notifier.config.errors import Problem, dotted
from notifier.config.secret_values import secret_values
from notifier.config.source_settings import SourceSettings
from notifier.config.types import (
    DatabaseUrl,
    FilePattern,
    ListenAddress,
    Name,
    OptionalDestinationName,
    OptionalToken,
    OptionalUrl,
    PublicUrl,
    SchemaName,
    StateFile,
)
from notifier.config.urls import is_plain_beyond_loopback
from notifier.http.proxy import unusable_variables

_SHORTEST_TOKEN: Final = 16
"""The minimum length of a token if other machines can reach the interface. A shorter one could be guessed."""


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


_EXPIRY_EVENTS: Final = frozenset({"completion.expiring", "completion.expired"})


class StoreSettings(BaseTable):
    """The place of the notifier's state: a file, or a schema in a PostgreSQL database."""

    path: StateFile = default("")
    """The path of the SQLite file. Empty: `$STATE_DIRECTORY/notifier.db` if that variable is set; the service's file in
    /var/lib for a configuration in /etc/notifier; otherwise notifier/notifier.db in the user's state directory."""
    url: DatabaseUrl = default("")
    """The address of a PostgreSQL database to use instead of a file. A second daemon with the same `url` and `name`
    stands by and takes over. The address is a secret if it contains a password."""
    name: SchemaName = "notifier"
    """With `url`: the name of the schema, one for each instance."""
    retention: Duration = default("90d")
    """How long delivered events, their deliveries and the content of removed records are kept."""

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys; `Problem.key` is relative to this table."""
        if self.url.get_secret_value() and "path" in self.model_fields_set:
            yield Problem("url", "cannot stand beside `path`: remove one of the two")
        if not self.url.get_secret_value() and "name" in self.model_fields_set and self.name != "notifier":
            yield Problem("name", "is the name of a schema, and needs `url`")

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        if is_unverified_beyond_loopback(self.url.get_secret_value()):
            yield Problem(
                "url",
                "does not verify the server: people's names cross the network to whichever machine answers; add"
                " sslmode=verify-full and sslrootcert",
            )


class LogSettings(BaseTable):
    """What is logged, and how."""

    level: LogLevel = LogLevel.INFO
    """The least important messages that are logged."""
    format: LogFormat = LogFormat.AUTO
    """The format of log lines. `auto`: text; under systemd, with the journal's priority before each line."""


class HttpInterfaceSettings(BaseTable):
    """The local HTTP interface: status, metrics, the feed of events, the dashboard."""

    listen: ListenAddress = default("127.0.0.1:8787")
    """The address to listen on: host:port or unix:/absolute/path. Empty: listen nowhere."""
    token: OptionalToken = default("")
    """The bearer token that clients must send. Required, with 16 characters or more, if other machines can connect."""
    anonymous: bool = False
    """Whether every user of this machine may read and change everything without a token."""
    public_url: PublicUrl = ""
    """The address at which people reach the dashboard, for links in messages. Empty: messages have no links to it."""

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys; `Problem.key` is relative to this table."""
        token = self.token.get_secret_value()
        if self._is_reachable_from_other_machines:
            if not token:
                yield Problem("token", "is required when `listen` lets other machines connect (openssl rand -hex 32)")
            elif len(token) < _SHORTEST_TOKEN:
                yield Problem(
                    "token",
                    f"must have {_SHORTEST_TOKEN} characters or more when `listen` lets other machines connect"
                    " (openssl rand -hex 32)",
                )
            if self.anonymous:
                yield Problem(
                    "anonymous",
                    (
                        "is only for interfaces that other machines cannot reach; remove it, or let `listen` be on"
                        " loopback"
                    ),
                )
        if self.anonymous and token:
            yield Problem("anonymous", "cannot be combined with a `token`; remove one of them")

    def warnings(self) -> Iterator[Problem]:
        """Yield a problem for each valid value that is probably a mistake; `Problem.key` is relative to this table."""
        if self.anonymous and self.listen is not None:
            yield Problem(
                "anonymous",
                "lets every user of this machine read who completed what, and disable, replay and test; `notifier"
                " dashboard` signs a browser in without it",
            )
        if self._is_reachable_from_other_machines:
            yield Problem(
                "listen",
                "lets other machines connect over plain HTTP: the token and people's records cross the network"
                " unencrypted; put a proxy with TLS in front of it on this machine, and listen on 127.0.0.1",
            )

    @property
    def _is_reachable_from_other_machines(self) -> bool:
        return self.listen is not None and not self.listen.is_loopback


class AlertSettings(BaseTable):
    """Messages about problems of the notifier itself."""

    destination: OptionalDestinationName = ""
    """The destination that alerts are sent to. Empty: problems are shown only in the log and the status."""
    heartbeat_url: OptionalUrl = default("")
    """A URL that is requested after every successful poll, so that a service there notices when the requests stop (a
    dead man's switch). The URL is a secret."""

    def alert_channel(self) -> str:
        """Return the channel through which people learn of problems: the name of the alerts' destination.

        Without this destination, the channel is "heartbeat" if a heartbeat URL is set, otherwise "".
        """
        return self.destination or ("heartbeat" if self.heartbeat_url.get_secret_value() else "")


class Settings(BaseTable):
    """The configuration of Completion Notifier."""

    include: tuple[FilePattern, ...] = ()
    """More files with tables `[sources.NAME]` and `[destinations.NAME]`, such as `sources.d/*.toml`."""
    store: StoreSettings = default({})
    """The state file, or a PostgreSQL database instead of it."""
    log: LogSettings = default({})
    """What is logged, and how."""
    http: HttpInterfaceSettings = default({})
    """The local HTTP interface."""
    alerts: AlertSettings = default({})
    """Messages about problems of the notifier itself."""
    sources: Annotated[dict[Name, SourceSettings], Field(min_length=1)]
    """The accounts that are watched, by name."""
    destinations: dict[Name, Destination] = default({})
    """The receivers of events, by name."""

    _world_readable_files: tuple[Path, ...] = PrivateAttr(default=())
    _unmatched_patterns: tuple[str, ...] = PrivateAttr(default=())

    def with_load_warnings(self, *, world_readable_files: Iterable[Path], unmatched_patterns: Iterable[str]) -> Self:
        """Let `warnings` also report these files and patterns. Return `self`.

        `world_readable_files` are files that contain secrets and that every user can read. `unmatched_patterns` are the
        dotted keys (`include[0]`) of the patterns that no file matches.
        """
        self._world_readable_files = tuple(world_readable_files)
        self._unmatched_patterns = tuple(unmatched_patterns)
        return self

    def secrets(self) -> tuple[str, ...]:
        """Return the secrets in these settings: tokens, keys, headers, and URLs with which anyone can post.

        In the URL of an HTTP endpoint, a broker or a proxy, only a password is secret.
        """
        return tuple(dict.fromkeys(self._secrets()))

    def _secrets(self) -> Iterator[str]:
        addresses = {url for one in self.destinations.values() for url in one.public_urls()}
        addresses.update(proxy.get_secret_value() for proxy in self._proxies())
        for one in self.destinations.values():
            yield from one.further_secrets()
        for secret in secret_values(self):
            if secret not in addresses:
                yield secret
            if "://" in secret:
                yield from _secret_parts(secret, is_address=secret in addresses)

    def _proxies(self) -> Iterator[SecretStr]:
        for one in (*self.sources.values(), *self.destinations.values()):
            if isinstance(one, SourceSettings | WebSettings):
                yield one.proxy

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys of different tables."""
        owners: dict[str, str] = {}
        # Names are unique, so at least one of two conflicting sources has an id_namespace. Sorting that one last makes
        # the problem point at its id_namespace.
        for name, source in sorted(self.sources.items(), key=lambda item: bool(item[1].id_namespace)):
            owner = owners.setdefault(source.namespace(name), name)
            if owner != name:
                message = f"produces the same event ids as source `{owner}`; each source needs its own namespace"
                yield Problem(dotted(("sources", name, "id_namespace")), message)
        yield from self._unusable_filters()

    def _unusable_filters(self) -> Iterator[Problem]:
        """Yield a problem if a source of a destination does not look up data that the destination's filters need."""
        for name, destination in self.destinations.items():
            for key, fact in destination.facts_needed():
                for source in destination.sources or self.sources:
                    configured = self.sources.get(source)
                    if configured is not None and (missing := configured.why_unfilterable_by(fact)):
                        where = dotted(("destinations", name, key))
                        yield Problem(where, missing.format(source=dotted(("sources", source))))

    def notes(self) -> tuple[str, ...]:
        """Return remarks about valid settings whose effects the operator should know. The effects may be intended."""
        if self.alerts.alert_channel():
            return ()
        return ("no one is alerted if something goes wrong: neither `[alerts] destination` nor `heartbeat_url` is set",)

    def warnings(self) -> tuple[Problem, ...]:
        """Return a problem for each valid value that is probably a mistake."""
        return tuple(self._warnings(datetime.now(UTC).date()))

    def _warnings(self, today: date) -> Iterator[Problem]:
        yield from _prefix_keys(("store",), self.store.warnings())
        yield from _prefix_keys(("http",), self.http.warnings())
        for file in self._world_readable_files:
            yield Problem(str(file), f"contains secrets, and every user can read it: chmod o-r {file}")
        for key in self._unmatched_patterns:
            yield Problem(key, "no file matches this pattern")
        if is_plain_beyond_loopback(self.alerts.heartbeat_url.get_secret_value()):
            yield Problem("alerts.heartbeat_url", "is http://: it crosses the network unencrypted; use https://")
        if not self.destinations:
            yield Problem("destinations", "there are none: completions are recorded, but no one is notified")
        for name, source in self.sources.items():
            yield from _prefix_keys(("sources", name), source.warnings(today))
        for name, destination in self.destinations.items():
            yield from _prefix_keys(("destinations", name), destination.warnings())
            if not destination.events and name != self.alerts.destination:
                yield Problem(
                    dotted(("destinations", name, "events")), "is empty: nothing is ever sent to this destination"
                )
        yield from self._unreceived_expiry()
        yield from self._duplicates()
        for variable, problem in unusable_variables(os.environ):
            yield Problem(variable, f"is ignored: it {problem}")

    def _unreceived_expiry(self) -> Iterator[Problem]:
        """Yield a problem for each source that announces expiry, but has no destination for these announcements.

        Also yield a problem for each destination that should get such announcements, but whose sources make none.
        """
        makers = {name for name, source in self.sources.items() if source.expiry}
        receivers = {name: it for name, it in self.destinations.items() if _EXPIRY_EVENTS & {*it.events}}
        for name, destination in receivers.items():
            if makers.isdisjoint(destination.sources or self.sources):
                yield Problem(
                    dotted(("destinations", name, "events")),
                    "contains announcements about expiry, but none of its sources makes them: set expiry = true there",
                )
        for name in self.sources:
            if name in makers and not any(name in (it.sources or self.sources) for it in receivers.values()):
                yield Problem(
                    dotted(("sources", name, "expiry")),
                    'is on, but no destination gets it: add "completion.expiring" or "completion.expired" to `events`',
                )

    def _duplicates(self) -> Iterator[Problem]:
        """Yield a problem for each account or receiver that is configured twice: events would be sent twice."""
        accounts: dict[object, str] = {}
        for name, source in self.sources.items():
            filters = (source.training_id, source.user_id, source.has_attachments)
            first = accounts.setdefault((source.base_url, source.token.get_secret_value(), filters), name)
            if first != name:
                yield Problem(
                    dotted(("sources", name, "token")),
                    f"is the same as that of source `{first}`: everything is reported twice",
                )
        addresses: dict[object, str] = {}
        for name, destination in self.destinations.items():
            first = addresses.setdefault(
                (destination.type, destination.receiver_identity(), destination.filters()), name
            )
            if first != name:
                yield Problem(
                    dotted(("destinations", name, destination.address_key)),
                    f"is the same as that of destination `{first}`: everything is sent there twice",
                )


def _secret_parts(url: str, *, is_address: bool) -> Iterator[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        # It is a password or a token that only looks like a URL.
        return
    if parts.password:
        yield unquote(parts.password)
    if not is_address and parts.path:
        yield f"{parts.path}?{parts.query}" if parts.query else parts.path


def _prefix_keys(path: tuple[str, ...], problems: Iterator[Problem]) -> Iterator[Problem]:
    for problem in problems:
        yield Problem(f"{dotted(path)}.{problem.key}", problem.message)
