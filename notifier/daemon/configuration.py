"""Where a running daemon's settings come from, so that it can follow them when they change."""

from collections.abc import Callable
from dataclasses import dataclass

from notifier.config import Settings


def _nothing(_settings: Settings) -> None:
    """Do nothing about new settings."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """`read` reads the settings, and raises ConfigError; `followed` hears of those that are followed from now on.

    `handed_over` are the keys that systemd has given to this process as credentials: those stay as they were at its
    start, whatever becomes of the files they came from. None when it gives none.
    """

    read: Callable[[], Settings]
    followed: Callable[[Settings], None] = _nothing
    handed_over: tuple[str, ...] | None = None

    def hint(self) -> str:
        """Say what may be missing in a configuration that was read again, besides what is wrong with it."""
        if self.handed_over is None:
            return ""
        return "\na credential that is new or was changed is not seen: systemd hands them over at the start only"
