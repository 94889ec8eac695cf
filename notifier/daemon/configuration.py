"""Where a running daemon's settings come from, so that it can follow them when they change."""

from collections.abc import Callable
from dataclasses import dataclass

from notifier.config import Settings


def _nothing(_settings: Settings) -> None:
    """Do nothing about new settings."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """`read` reads the settings, and raises ConfigError; `followed` hears of those that are followed from now on."""

    read: Callable[[], Settings]
    followed: Callable[[Settings], None] = _nothing
