"""`notifier check`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from notifier.cli import checking
from notifier.cli.columns import Column
from notifier.cli.configuration import read_settings
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import one_json_object
from notifier.cli.screen import Listing, say, say_facts, say_json
from notifier.cli.text import counted, harmless
from notifier.config import Settings, find_file, format_duration
from notifier.redact import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifier.cli.looking import Sight

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
@one_json_object
@takes_given
def check(given: Given, *, online: bool, as_json: bool) -> None:
    """Validate the configuration; online, try every token.

    Nothing is stored or sent: online, each source is asked for one record, and for names where they are wanted.
    """
    settings = read_settings(given)
    file = find_file(given.config, environ=os.environ, cwd=Path.cwd())
    if not as_json:
        _show(file, settings)
    sights = checking.seen(given, settings) if online else None
    if as_json:
        say_json([_document(file, settings, sights)])
    elif sights is not None:
        say("")
        checking.show(sights)
    checking.refuse(sights or ())


def _document(file: Path | None, settings: Settings, sights: "Sequence[Sight] | None") -> dict[str, Any]:
    sources: dict[str, dict[str, Any]] = {
        name: {
            "api": source.api,
            "address": redact(source.base_url),
            "poll_interval": format_duration(source.poll_interval),
            "first_run": str(source.first_run),
        }
        for name, source in settings.sources.items()
    }
    for sight in sights or ():
        sources[sight.source]["online"] = sight.document()
    return {
        "configuration": None if file is None else str(file),
        "state_file": str(settings.store.path),
        "listen": None if settings.http.listen is None else str(settings.http.listen),
        "sources": sources,
        "destinations": {
            name: {
                "type": destination.type,
                "address": destination.address(),
                "events": destination.events,
                "sources": destination.sources or tuple(settings.sources),
            }
            for name, destination in settings.destinations.items()
        },
        "warnings": [str(warning) for warning in settings.warnings()],
    }


def _show(file: Path | None, settings: Settings) -> None:
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
