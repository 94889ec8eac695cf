"""What a new configuration changes for a running daemon. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from notifier.config import Settings


@dataclass(frozen=True, slots=True)
class Differences:
    """Which of the named things are new, other than they were, or gone."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @classmethod
    def between(cls, before: Mapping[str, object], after: Mapping[str, object]) -> "Differences":
        """Compare two configurations of things by their names."""
        return cls(
            tuple(name for name in after if name not in before),
            tuple(name for name in after if name in before and after[name] != before[name]),
            tuple(name for name in before if name not in after),
        )

    @property
    def renewed(self) -> tuple[str, ...]:
        """What has to be made anew."""
        return (*self.added, *self.changed)

    def document(self) -> dict[str, Any]:
        """Return the differences as a JSON object."""
        return {"added": self.added, "changed": self.changed, "removed": self.removed}


@dataclass(frozen=True, slots=True)
class Changes:
    """What a new configuration changes."""

    sources: Differences
    destinations: Differences


def changes_between(before: Settings, after: Settings) -> Changes:
    """Compare two configurations."""
    return Changes(
        # How long an outage leaves no gap depends on the retention, too.
        Differences.between(_with(before.sources, before.store.retention), _with(after.sources, after.store.retention)),
        Differences.between(before.destinations, after.destinations),
    )


def left_to_restart(opened_with: Settings, after: Settings) -> tuple[str, ...]:
    """Name the keys that are other than what is open already, and take effect only with the next start."""
    opened = {"store.path": opened_with.store.path, "http": opened_with.http}
    wanted = {"store.path": after.store.path, "http": after.http}
    return tuple(key for key in wanted if wanted[key] != opened[key])


def reload_document(changes: Changes, left: tuple[str, ...], handed_over: tuple[str, ...]) -> dict[str, Any]:
    """Say as a JSON object what a reload has changed, and which keys it had to leave to the next start.

    Those `handed_over` by systemd are as they were at the start; whether they have changed since, nobody here can tell.
    """
    return {
        "sources": changes.sources.document(),
        "destinations": changes.destinations.document(),
        "left_to_restart": left,
        "handed_over": handed_over,
    }


def _with(sources: Mapping[str, object], retention: float) -> dict[str, object]:
    return {name: (settings, retention) for name, settings in sources.items()}
