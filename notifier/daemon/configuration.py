"""The configuration of a running daemon, the way to read it again, and the differences of a new one."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from notifier.config import Destination, HttpInterfaceSettings, Settings
from notifier.config.errors import dotted
from notifier.delivery.subscriptions import subscriptions_of

if TYPE_CHECKING:
    from notifier.store.subscriptions import Subscription
    from notifier.web.response_models.status import DifferencesDocument, ReloadDocument


def _ignore_settings(_settings: Settings) -> None:
    """Ignore new settings."""


class SettingsSource(Struct, frozen=True):
    """Functions to re-read the configuration of a running daemon.

    `read` returns the settings as they are on disk now or raises ConfigError; it is called on a thread. `followed` is
    called with settings that have been applied. `handed_over` lists the keys that systemd passed to this process as
    credentials (None: systemd passed none). These keys keep their values from the start, even if their files change.
    """

    read: Callable[[], Settings]
    on_applied: Callable[[Settings], None] = _ignore_settings
    credential_keys: tuple[str, ...] | None = None

    def credentials_hint(self) -> str:
        """Return a hint about credentials to append to errors of a reload; "" if systemd passed no credentials."""
        if self.credential_keys is None:
            return ""
        return "\na new or changed credential is not seen, because systemd passes credentials only at the start"


class RunningConfiguration:
    """The configuration in force, which all parts of the daemon read here and a reload replaces.

    During a reload, `subscriptions` may already differ from the settings: new events must not go to a destination that
    is being stopped, nor to one that does not exist yet.
    """

    def __init__(self, settings: Settings, source: SettingsSource | None = None) -> None:
        self.settings = settings
        self.settings_at_start = settings
        """The settings at the start. The store and the HTTP interface were opened with them and keep them until the
        next start.
        """
        self.subscriptions: Sequence[Subscription] = subscriptions_of(settings.destinations)
        """The filters that decide which destinations get an event."""
        self.source = source or SettingsSource(lambda: settings)
        self.reload_problem: str | None = None
        """Why the last reload could not read the configuration; None after a successful reload or without any."""


class Differences(Struct, frozen=True):
    """The names of sources or destinations that are new, changed, or removed."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @classmethod
    def between(cls, before: Mapping[str, object], after: Mapping[str, object]) -> "Differences":
        """Return the differences between two tables of sources or destinations."""
        return cls(
            tuple(name for name in after if name not in before),
            tuple(name for name in after if name in before and after[name] != before[name]),
            tuple(name for name in before if name not in after),
        )

    @property
    def added_and_changed(self) -> tuple[str, ...]:
        """The new names and the changed ones; objects have to be created for both."""
        return (*self.added, *self.changed)

    def document(self) -> "DifferencesDocument":
        """Return the differences as a JSON object."""
        return {"added": self.added, "changed": self.changed, "removed": self.removed}


class Changes(Struct, frozen=True):
    """The differences between two configurations, for sources and for destinations."""

    sources: Differences
    destinations: Differences


def changes_between(before: Settings, after: Settings) -> Changes:
    """Compare two configurations."""
    return Changes(
        # The retention is part of a source's settings here, because it decides whether an outage leaves a gap.
        Differences.between(
            _with_retention(before.sources, before.store.retention),
            _with_retention(after.sources, after.store.retention),
        ),
        Differences.between(before.destinations, after.destinations),
    )


def _http_fixed_at_start(settings: Settings) -> HttpInterfaceSettings:
    """Return the settings of the HTTP interface without `public_url`, which only messages use."""
    return settings.http.model_copy(update={"public_url": ""})


def keys_pending_restart(settings_at_start: Settings, after: Settings) -> tuple[str, ...]:
    """Return the changed keys of the store and the HTTP interface, which take effect at the next start only."""
    before = _settings_fixed_at_start(settings_at_start)
    current = _settings_fixed_at_start(after)
    return tuple(key for key in current if current[key] != before[key])


def store_keys_pending_restart(settings_at_start: Settings, after: Settings) -> tuple[str, ...]:
    """Return the changed keys of the store's location, which take effect at the next start only."""
    before = _store_location(settings_at_start)
    current = _store_location(after)
    return tuple(f"store.{key}" for key in current if current[key] != before[key])


def with_store_location_of(settings_at_start: Settings, settings: Settings) -> Settings:
    """Return `settings` with the store's location from `opened_with`, the settings at the start."""
    store = settings.store.model_copy(update=_store_location(settings_at_start))
    return settings.model_copy(update={"store": store})


def _settings_fixed_at_start(settings: Settings) -> dict[str, object]:
    location = {f"store.{key}": value for key, value in _store_location(settings).items()}
    return {**location, "http": _http_fixed_at_start(settings)}


def _store_location(settings: Settings) -> dict[str, object]:
    return {"path": settings.store.path, "url": settings.store.url, "name": settings.store.name}


def reload_document(
    changes: Changes, pending_keys: tuple[str, ...], credential_keys: tuple[str, ...], unmatched: Mapping[str, int]
) -> "ReloadDocument":
    """Return the result of a reload as a JSON object: its changes, and the keys that take effect at the next start.

    `unmatched` is, by destination, the number of waiting events that no longer pass its filters. Keys `handed_over` by
    systemd keep their values from the start; the daemon cannot know whether these have changed since.
    """
    return {
        "sources": changes.sources.document(),
        "destinations": changes.destinations.document(),
        "left_to_restart": pending_keys,
        "handed_over": credential_keys,
        "unmatched": dict(unmatched),
        "message": "",
    }


def _with_retention(sources: Mapping[str, object], retention: float) -> dict[str, object]:
    return {name: (settings, retention) for name, settings in sources.items()}


class UnloadedChanges(Struct, frozen=True):
    """The part of a destination's configuration that the running daemon has not loaded yet.

    `keys` lists the keys that differ between the configuration file and the running daemon, as `destinations.NAME.KEY`,
    or `destinations.NAME` for the whole table. `message` says this in a sentence without values. Both are empty if
    nothing differs.
    """

    keys: tuple[str, ...] = ()
    message: str = ""


def unloaded_changes(name: str, before: Destination | None, after: Destination | None) -> UnloadedChanges:
    """Compare a destination's settings in the running daemon (`before`) with the configuration file (`after`).

    None means that the destination is missing there.
    """
    if before == after:
        return UnloadedChanges()
    table = dotted(("destinations", name))
    if before is None:
        return UnloadedChanges(
            (table,), f"the daemon does not know {name} yet, which is new: run `notifier reload` first"
        )
    if after is None:
        message = f"the configuration no longer contains {name}, but the daemon still uses it: run `notifier reload`"
        return UnloadedChanges((table,), message)
    keys = [key for key in type(before).model_fields if getattr(before, key) != getattr(after, key, None)]
    # If the type has changed, the other differences follow from it and are not listed.
    keys = ["type"] if type(before) is not type(after) else keys
    message = (
        f"the daemon still uses an older configuration of {name}: {', '.join(f'`{key}`' for key in keys)}"
        f" {'has' if len(keys) == 1 else 'have'} changed since; run `notifier reload` first"
    )
    return UnloadedChanges(tuple(f"{table}.{key}" for key in keys), message)
