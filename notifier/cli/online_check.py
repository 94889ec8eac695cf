"""Tries each source's token, for the commands `notifier check --online` and `notifier init`."""

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Final

from notifier import log
from notifier.cli.errors import CommandError
from notifier.cli.formatting import Column, format_count, terminal_safe
from notifier.cli.global_options import GlobalOptions
from notifier.cli.output import TableWriter, echo
from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.regular_files import is_there

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from notifier.cli.filter_matches import FilterMatches
    from notifier.cli.source_probe import ProbeResult

_COLUMNS: Final = (
    Column("source"),
    Column("answers"),
    Column("records", align_right=True),
    Column("newest"),
    Column("people", align_right=True),
    Column("trainings", align_right=True),
    Column("way"),
)


def probe_sources(global_options: GlobalOptions, settings: Settings) -> "Sequence[ProbeResult]":
    """Try the token of each source, and return the results. Nothing is stored, and destinations get no request."""
    # Imported here, because these imports take half a second and an offline check does not need them.
    from notifier.cli.source_probe import probe_all  # noqa: PLC0415

    log.setup(global_options.log_level(), "text")
    return asyncio.run(probe_all(settings.sources))


def store_warnings(settings: Settings) -> "Iterator[str]":
    """Yield warnings about the store, if it exists.

    The warnings are about waiting events of destinations that are not configured, sources that were probably renamed,
    and a database server whose clock differs. Raises CommandError if the database cannot be used.
    """
    is_file = not settings.store.url.get_secret_value()
    if is_file and not is_there(settings.store.path):
        return
    # Imported only here, because the state file usually does not exist at the first check.
    from notifier.alerts.destination_rules import orphan_sentence  # noqa: PLC0415
    from notifier.cli.renamed_sources import last_polls, rename_sentences  # noqa: PLC0415
    from notifier.store.errors import StoreError, StoreReason  # noqa: PLC0415
    from notifier.store.opening import open_read_only  # noqa: PLC0415
    from notifier.store.postgres.server_clock import difference_sentence, server_clock_ahead_ms  # noqa: PLC0415
    from notifier.store.queries.orphans import orphans as find_orphans  # noqa: PLC0415

    try:
        with closing(open_read_only(settings.store)) as db:
            orphans = find_orphans(db, tuple(settings.destinations))
            polled_ms = last_polls(db)
            ahead_ms = 0 if is_file else server_clock_ahead_ms(db, SystemClock().now_ms)
    except StoreError as error:
        # Errors of the state file are not reported here; the daemon reports them when it starts.
        if is_file or error.reason is StoreReason.NOT_A_STATE_FILE:
            return
        raise CommandError(error.message) from error
    yield from (orphan_sentence(orphan) for orphan in orphans if orphan.pending)
    yield from rename_sentences(settings.sources, polled_ms, SystemClock().now_ms())
    if sentence := difference_sentence(ahead_ms):
        yield sentence


def show_probes(probes: "Sequence[ProbeResult]") -> None:
    """Print the results of the probes as a table."""
    TableWriter(*_COLUMNS).show(probe.row() for probe in probes)


def match_filters(settings: Settings, probes: "Sequence[ProbeResult]") -> "list[FilterMatches]":
    """Count what each destination's filters match in the lists that the probes read."""
    from notifier.cli.filter_matches import count_matches  # noqa: PLC0415 - slow to import, like the probe

    return count_matches(settings, {probe.source: probe.directory for probe in probes})


def show_matches(matches: "Sequence[FilterMatches]") -> None:
    """Print how many trainings and people each destination's filters match, and warn about patterns without a match."""
    from notifier.cli.filter_matches import COLUMNS  # noqa: PLC0415 - slow to import, like the probe

    if matches:
        echo("")
        TableWriter(*COLUMNS).show(match.row() for match in matches)
    if warnings := [f"Warning: {terminal_safe(warning)}" for match in matches for warning in match.warnings()]:
        echo("", *warnings)


def raise_on_problems(probes: "Sequence[ProbeResult]", store_error: CommandError | None = None) -> None:
    """Raise a CommandError that lists the problems of all probes and the `store_error`, if there are any."""
    problems = [f"{probe.source}: {problem}" for probe in probes for problem in probe.problems]
    lines = [] if store_error is None else [store_error.message]
    if problems:
        lines += [f"{format_count(len(problems), 'problem')} found online:", *problems]
    if lines:
        raise CommandError(*lines) from store_error
