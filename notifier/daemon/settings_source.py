"""Gives a running daemon access to its configuration, so that it can apply changes."""

from collections.abc import Callable
from dataclasses import dataclass

from notifier.config import Settings


def _nothing(_settings: Settings) -> None:
    """Ignore new settings."""


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """Functions to re-read the configuration of a running daemon.

    `read` returns the current settings or raises ConfigError; `followed` is called with settings that have been
    applied. `handed_over` lists the keys that systemd passed to this process as credentials (None: systemd passed
    none). These keys keep their values from the start, even if their files change.
    """

    read: Callable[[], Settings]
    followed: Callable[[Settings], None] = _nothing
    handed_over: tuple[str, ...] | None = None

    def hint(self) -> str:
        """Return a hint to add to the errors of a re-read configuration; "" if systemd passed no credentials."""
        if self.handed_over is None:
            return ""
        return "\na credential that is new or was changed is not seen: systemd hands them over at the start only"
