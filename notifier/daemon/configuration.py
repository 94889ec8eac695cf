"""The configuration of a running daemon, and its differences from a new configuration."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from notifier.config import Destination, HttpInterfaceSettings, Settings
from notifier.config.errors import dotted
from notifier.delivery.subscriptions import subscriptions_of

if TYPE_CHECKING:
    from notifier.store.subscriptions import Subscription
    from notifier.web.response_models.status import DifferencesDocument, ReloadDocument


def _ignore_settings(_settings: Settings) -> None:
    """Do nothing; this is the default of `ReloadHooks.on_applied`."""


class ReloadHooks(Struct, frozen=True):
    """Functions that a reload of the configuration calls."""

    read: Callable[[], Settings]
    """Reads the settings from disk, or raises ConfigError; called in a thread."""
    on_applied: Callable[[Settings], None] = _ignore_settings
    """Called with the new settings after the daemon has applied them."""
    credential_keys: tuple[str, ...] | None = None
    """The keys whose values systemd passed to this process as credentials; None without credentials. A reload does not
    change these values.
    """

    def credentials_hint(self) -> str:
        """Return a hint about credentials for the error of a failed reload; "" if systemd passed no credentials."""
        if self.credential_keys is None:
            return ""
        return "\na new or changed credential is not seen, because systemd passes credentials only at the start"


class RunningConfiguration:
    """The configuration that is in force. All parts of the daemon read it here, and a reload replaces it.

    During a reload, `subscriptions` lacks destinations that are being stopped or have not started yet.
    """

    def __init__(self, settings: Settings, reload_hooks: ReloadHooks | None = None) -> None:
        self.settings = settings
        self.settings_at_start = settings
        """The settings when the process started. The store and the HTTP interface use them until the next start."""
        self.subscriptions: Sequence[Subscription] = subscriptions_of(settings.destinations)
        """The filters of all destinations, which decide where an event is sent."""
        self.reload_hooks = reload_hooks or ReloadHooks(lambda: settings)
        self.reload_problem: str | None = None
        """Why the last reload failed; None if it succeeded or if there was no reload."""


class Differences(Struct, frozen=True):
    """The names of the sources (or destinations) that a new configuration adds, changes or removes."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @classmethod
    def between(
        cls, before: Mapping[str, object], after: Mapping[str, object], unsure: Collection[str] = ()
    ) -> "Differences":
        """Compare the sources (or destinations) of two configurations. The keys of the mappings are names.

        A name in `unsure` is listed even if its settings are equal: the source or destination that now runs under this
        name may have other settings than those in `before`. If such a name is not in `after`, it is listed as removed.
        """
        return cls(
            tuple(name for name in after if name not in before),
            tuple(name for name in after if name in before and (after[name] != before[name] or name in unsure)),
            tuple(name for name in dict.fromkeys((*before, *unsure)) if name not in after),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all three groups."""
        return (*self.added, *self.changed, *self.removed)

    @property
    def added_and_changed(self) -> tuple[str, ...]:
        """The added and the changed names, for which new objects must be created."""
        return (*self.added, *self.changed)

    def document(self) -> "DifferencesDocument":
        """Return the three lists of names as a JSON object."""
        return {"added": self.added, "changed": self.changed, "removed": self.removed}


class Changes(Struct, frozen=True):
    """The differences between the sources and between the destinations of two configurations."""

    sources: Differences = Differences()
    destinations: Differences = Differences()


NO_CHANGES: Final = Changes()


def changes_between(before: Settings, after: Settings, unfinished: Changes = NO_CHANGES) -> Changes:
    """Return the differences between two configurations.

    `unfinished` are the changes of an earlier reload that failed midway. It is unknown which of these changes were
    made. Therefore the result also contains all names in `unfinished`.
    """
    return Changes(
        # A new retention counts as a change of every source, because each watcher uses it to recognise a gap.
        Differences.between(
            _with_retention(before.sources, before.store.retention),
            _with_retention(after.sources, after.store.retention),
            unfinished.sources.names,
        ),
        Differences.between(before.destinations, after.destinations, unfinished.destinations.names),
    )


def _http_fixed_at_start(settings: Settings) -> HttpInterfaceSettings:
    """Return the settings of the HTTP interface that a reload cannot change: all except `public_url`."""
    return settings.http.model_copy(update={"public_url": ""})


def keys_pending_restart(settings_at_start: Settings, after: Settings) -> tuple[str, ...]:
    """Return the changed keys that take effect only at the next start.

    The location of the store has the keys `store.path`, `store.url` and `store.name`. All keys of the table `[http]`
    are listed as `http`, except `public_url`, which needs no restart.
    """
    before = _settings_fixed_at_start(settings_at_start)
    current = _settings_fixed_at_start(after)
    return tuple(key for key in current if current[key] != before[key])


def store_keys_pending_restart(settings_at_start: Settings, after: Settings) -> tuple[str, ...]:
    """Return the changed keys that say where the store is. They take effect only at the next start."""
    before = _store_location(settings_at_start)
    current = _store_location(after)
    return tuple(f"store.{key}" for key in current if current[key] != before[key])


def with_store_location_of(settings_at_start: Settings, settings: Settings) -> Settings:
    """Return `settings` with the location of the store taken from `settings_at_start`."""
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
    """Return the result of a successful reload as a JSON object.

    `pending_keys` are the changed keys that take effect only at the next start. `credential_keys` are keys that systemd
    passed as credentials; a reload cannot notice their changes. `unmatched` maps a destination to the number of
    waiting events that the destination's filters now reject.
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
    """Changes of a destination in the configuration file that the running daemon has not loaded yet."""

    keys: tuple[str, ...] = ()
    """The changed keys, such as `destinations.NAME.KEY`; `destinations.NAME` if the destination was added or removed.
    """
    message: str = ""
    """A sentence that names the changes, but no values; "" without changes."""


def unloaded_changes(name: str, before: Destination | None, after: Destination | None) -> UnloadedChanges:
    """Compare a destination's settings in the running daemon (`before`) and in the configuration file (`after`).

    `before` is None if the destination was added. `after` is None if the destination was removed.
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
    # Destinations of different types have different keys, so only the type is listed.
    keys = ["type"] if type(before) is not type(after) else keys
    message = (
        f"the daemon still uses an older configuration of {name}: {', '.join(f'`{key}`' for key in keys)}"
        f" {'has' if len(keys) == 1 else 'have'} changed since; run `notifier reload` first"
    )
    return UnloadedChanges(tuple(f"{table}.{key}" for key in keys), message)
