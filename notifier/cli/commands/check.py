"""The command `notifier check`, which validates the configuration and, with --online, tries the API tokens."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from notifier.cli import online_check
from notifier.cli.context import read_settings
from notifier.cli.errors import CommandError, ConfigurationError
from notifier.cli.formatting import Column, format_count, terminal_safe
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import TableWriter, echo, echo_json, print_facts
from notifier.cli.parameter_types import json_object_option
from notifier.config import ConfigError, HttpSettings, Settings, find_file, format_duration, proxies
from notifier.config.destination_types import Destination
from notifier.config.destinations import ScheduledSettings
from notifier.config.schedules import IMMEDIATELY
from notifier.destinations.webhook.signature import PRIVATE_PREFIX, public_key
from notifier.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from notifier.cli.filter_matches import FilterMatches
    from notifier.cli.source_probe import ProbeResult
    from notifier.http.proxy import Proxy

_SOURCE_COLUMNS: Final = (Column("source"), Column("api"), Column("address"), Column("every"), Column("first run"))
_DESTINATION_COLUMNS: Final = (
    Column("destination"),
    Column("type"),
    Column("address"),
    Column("events"),
    Column("of sources"),
    Column("when"),
)


@click.command(epilog=examples("notifier check", "notifier check --online --config /etc/notifier/config.toml"))
@click.option("--online", is_flag=True, help="Try every source's token and show what it sees.")
@click.option("--strict", is_flag=True, help="Treat warnings as errors.")
@json_object_option
@pass_global_options
def check(global_options: GlobalOptions, *, online: bool, strict: bool, as_json: bool) -> None:
    """Validate the configuration; --online tries each token.

    Nothing is stored or sent. With --online, this requests the newest page of each source, and its lists of people
    and trainings (and of job titles, if `person_fields` has `job_title`). The lists of a source with `names = false`
    are not requested. Tables then show which requests went through a proxy, and how many trainings and people the
    filters of each destination match today. Errors must be corrected. Warnings report settings that are valid but
    probably a mistake; they do not change the exit code unless --strict is given.
    """
    try:
        settings = read_settings(global_options)
    except ConfigurationError as failure:
        if as_json:
            echo_json([{"errors": _error_texts(failure), "warnings": [], "notes": []}])
        raise
    file = find_file(global_options.config, environ=os.environ, cwd=Path.cwd())
    warnings, store_error = [*map(str, settings.warnings())], None
    try:
        warnings += online_check.store_warnings(settings)
    except CommandError as error:
        # Raised at the end, because everything else is shown even if the database cannot be used.
        store_error = error
    if not as_json:
        _show(file, settings, warnings)
    probes = online_check.probe_sources(global_options, settings) if online else None
    matches = online_check.match_filters(settings, probes or ()) if online else []
    warnings += [warning for match in matches for warning in match.warnings()]
    if as_json:
        errors = [] if store_error is None else [store_error.message]
        echo_json([_document(file, settings, probes, matches, warnings, errors)])
    elif probes is not None:
        echo("")
        online_check.show_probes(probes)
        online_check.show_matches(matches)
    online_check.raise_on_problems(probes or (), store_error)
    if strict and warnings:
        raise ConfigurationError(f"{format_count(len(warnings), 'warning')}, which --strict makes an error")


def _error_texts(failure: ConfigurationError) -> list[str]:
    error = failure.__cause__
    return [str(problem) for problem in error.problems] if isinstance(error, ConfigError) else [failure.message]


def _database(settings: Settings) -> str | None:
    """Return the address and schema of a store in PostgreSQL, without secrets; None if the store is a file."""
    if not settings.store.url.get_secret_value():
        return None
    # Imported here, because a state file does not need the library for PostgreSQL.
    from notifier.store.opening import postgres_location  # noqa: PLC0415

    return str(postgres_location(settings.store))


def _document(
    file: Path | None,
    settings: Settings,
    probes: "Sequence[ProbeResult] | None",
    matches: "Sequence[FilterMatches]",
    warnings: "Sequence[str]",
    errors: "Sequence[str]",
) -> dict[str, Any]:
    public_keys = list(_public_keys(settings))
    sources: dict[str, dict[str, Any]] = {
        name: {
            "api": source.api,
            "address": redact(source.base_url),
            "poll_interval": format_duration(source.poll_interval),
            "first_run": str(source.first_run),
            "proxy": _optional_text(proxies.of_source(source)),
        }
        for name, source in settings.sources.items()
    }
    for probe in probes or ():
        sources[probe.source]["online"] = probe.document()
    destinations: dict[str, dict[str, Any]] = {
        name: {
            "type": destination.type,
            "address": destination.address(),
            "events": destination.events,
            "sources": destination.sources or tuple(settings.sources),
            "when": _schedule_text(destination),
            "proxy": _optional_text(proxies.of_destination(destination)),
            "public_keys": [key for owner, key in public_keys if owner == name],
        }
        for name, destination in settings.destinations.items()
    }
    for match in matches:
        destinations[match.destination]["online"] = match.document()
    return {
        "configuration": None if file is None else str(file),
        "state_file": None if settings.store.url.get_secret_value() else str(settings.store.path),
        "database": _database(settings),
        "listen": None if settings.http.listen is None else str(settings.http.listen),
        "sources": sources,
        "destinations": destinations,
        "errors": list(errors),
        "warnings": list(warnings),
        "notes": list(settings.notes()),
    }


def _public_keys(settings: Settings) -> "Iterator[tuple[str, str]]":
    """For each private key that signs requests, yield the name of its destination and the public key."""
    for name, destination in settings.destinations.items():
        for secret in destination.secret if isinstance(destination, HttpSettings) else ():
            if (text := secret.get_secret_value()).startswith(PRIVATE_PREFIX):
                yield name, public_key(text)


def _optional_text(proxy: "Proxy | None") -> str | None:
    return None if proxy is None else str(proxy)


def _schedule_text(destination: Destination) -> str:
    """Return the destination's schedule and quiet times in the notation of the configuration."""
    if not isinstance(destination, ScheduledSettings):
        return IMMEDIATELY
    parts = [destination.schedule]
    if destination.quiet_hours:
        parts.append(f"not {destination.quiet_hours}")
    if destination.quiet_days:
        parts.append(f"not {', '.join(destination.quiet_days)}")
    if destination.has_slots:
        parts.append(destination.timezone or "this machine's time")
    return "; ".join(parts)


def _show(file: Path | None, settings: Settings, warnings: "Sequence[str]") -> None:
    print_facts(
        [
            ("configuration", "the environment only" if file is None else str(file)),
            ("database", str(_database(settings))) if _database(settings) else ("state file", str(settings.store.path)),
            ("listens on", "its socket only" if settings.http.listen is None else str(settings.http.listen)),
            *(("proxy", proxy) for proxy in proxies.describe_proxies(settings)),
            *(("public key", f"{key} (of {name})") for name, key in _public_keys(settings)),
        ]
    )
    echo("")
    TableWriter(*_SOURCE_COLUMNS).show(
        (name, source.api, redact(source.base_url), format_duration(source.poll_interval), str(source.first_run))
        for name, source in settings.sources.items()
    )
    if settings.destinations:
        echo("")
        TableWriter(*_DESTINATION_COLUMNS).show(
            (
                name,
                destination.type,
                destination.address(),
                ", ".join(event.removeprefix("completion.") for event in destination.events),
                ", ".join(destination.sources) or "all",
                _schedule_text(destination),
            )
            for name, destination in settings.destinations.items()
        )
    echo("", *(f"Warning: {terminal_safe(warning)}" for warning in warnings))
    echo(*(f"Note: {note}" for note in settings.notes()))
    echo(
        f"The configuration is valid, with {format_count(len(warnings), 'warning')}."
        if warnings
        else "The configuration is valid."
    )
