"""`notifier check`."""

import asyncio
import os
from pathlib import Path
from typing import Final

import click

from notifier import logs
from notifier.cli.columns import Column
from notifier.cli.configuration import read_settings
from notifier.cli.failures import Failure
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.screen import Listing, say, say_facts
from notifier.cli.text import counted, harmless
from notifier.config import Settings, find_file, format_duration
from notifier.redact import redact

_SOURCE_COLUMNS: Final = (Column("source"), Column("api"), Column("address"), Column("every"), Column("first run"))
_DESTINATION_COLUMNS: Final = (
    Column("destination"),
    Column("type"),
    Column("address"),
    Column("events"),
    Column("of sources"),
)


@click.command(epilog=examples("notifier check", "notifier check --online --config /etc/notifier/config.toml"))
@click.option("--online", is_flag=True, help="Try every source's token and show what it sees.")
@takes_given
def check(given: Given, *, online: bool) -> None:
    """Validate the configuration; online, try every token.

    Nothing is stored or sent: online, each source is asked for one record, and for names where they are wanted.
    """
    settings = read_settings(given)
    _show(given, settings)
    if online:
        logs.set_up(given.log_level(), "text")
        _look(settings)


def _show(given: Given, settings: Settings) -> None:
    file = find_file(given.config, environ=os.environ, cwd=Path.cwd())
    say_facts(
        [
            ("configuration", "the environment only" if file is None else str(file)),
            ("state file", str(settings.store.path)),
            ("listens on", "its socket only" if settings.http.listen is None else str(settings.http.listen)),
        ]
    )
    say("")
    Listing(*_SOURCE_COLUMNS).show(
        (name, source.api, redact(source.base_url), format_duration(source.poll_interval), str(source.first_run))
        for name, source in settings.sources.items()
    )
    if settings.destinations:
        say("")
        Listing(*_DESTINATION_COLUMNS).show(
            (
                name,
                destination.type,
                destination.address(),
                ", ".join(event.removeprefix("completion.") for event in destination.events),
                ", ".join(destination.sources) or "all",
            )
            for name, destination in settings.destinations.items()
        )
    warnings = settings.warnings()
    say("", *(f"Warning: {harmless(str(warning))}" for warning in warnings))
    say(
        f"The configuration is valid, with {counted(len(warnings), 'warning')}."
        if warnings
        else "The configuration is valid."
    )


def _look(settings: Settings) -> None:
    """Show what the sources' tokens see. Raises Failure when one of them cannot be used as configured."""
    # Half a second of imports that a check of the configuration alone never needs.
    from notifier.cli.looking import look_at_all  # noqa: PLC0415

    sights = asyncio.run(look_at_all(settings.sources))
    say("")
    columns = (
        Column("source"),
        Column("answers"),
        Column("records", right=True),
        Column("newest"),
        Column("people", right=True),
        Column("trainings", right=True),
    )
    Listing(*columns).show(sight.row() for sight in sights)
    troubles = [f"{sight.source}: {trouble}" for sight in sights for trouble in sight.troubles]
    if troubles:
        raise Failure(f"{counted(len(troubles), 'thing')} failed online:", *troubles)
