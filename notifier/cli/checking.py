"""What the tokens of a configuration see: for `notifier check --online`, and for whoever has just written one."""

import asyncio
from typing import TYPE_CHECKING, Final

from notifier import logs
from notifier.cli.columns import Column
from notifier.cli.failures import Failure
from notifier.cli.given import Given
from notifier.cli.screen import Listing
from notifier.cli.text import counted
from notifier.config import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifier.cli.looking import Sight

_COLUMNS: Final = (
    Column("source"),
    Column("answers"),
    Column("records", right=True),
    Column("newest"),
    Column("people", right=True),
    Column("trainings", right=True),
)


def seen(given: Given, settings: Settings) -> "Sequence[Sight]":
    """Return what the sources' tokens see; nothing is stored or sent."""
    # Half a second of imports that a check of the configuration alone never needs.
    from notifier.cli.looking import look_at_all  # noqa: PLC0415

    logs.set_up(given.log_level(), "text")
    return asyncio.run(look_at_all(settings.sources))


def show(sights: "Sequence[Sight]") -> None:
    """Show it as a table."""
    Listing(*_COLUMNS).show(sight.row() for sight in sights)


def refuse(sights: "Sequence[Sight]") -> None:
    """Raise Failure when one of the sources cannot be used as configured."""
    troubles = [f"{sight.source}: {trouble}" for sight in sights for trouble in sight.troubles]
    if troubles:
        raise Failure(f"{counted(len(troubles), 'thing')} failed online:", *troubles)
