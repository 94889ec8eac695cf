"""A day of a daemon: memory, files, log and descriptors do not grow with every round or every event."""

import logging
from pathlib import Path

from notifier.daemon.file_upkeep import LARGE_LOG_BYTES
from tests.support.long_run import EDITS_AN_HOUR, Figures, soak

HOURS = 24
SAMPLES = 8


def spread(values: list[int]) -> int:
    return max(values) - min(values)


def test_daemon_does_not_grow_in_a_day_of_polls(tmp_path: Path) -> None:
    figures: list[Figures] = []
    # The log is tested elsewhere, and pytest would keep every line.
    logging.disable(logging.CRITICAL)
    try:
        soak(tmp_path, HOURS * 60, SAMPLES, figures.append, retention="3h")
    finally:
        logging.disable(logging.NOTSET)
    assert [it.rounds for it in figures] == [HOURS * 60 // SAMPLES * number for number in range(1, SAMPLES + 1)]
    assert figures[-1].events >= EDITS_AN_HOUR * (HOURS - 2)
    # From here on, everything has been used once, and old events are being deleted.
    settled = figures[3:]
    rounds = settled[-1].rounds - settled[0].rounds
    # The lowest figures at both ends are compared, because other work in this process creates temporary objects.
    grown = min(it.objects for it in settled[-2:]) - min(it.objects for it in settled[:2])
    assert grown < rounds // 2
    assert settled[-1].resident - settled[0].resident < 4_000_000
    assert spread([it.file for it in settled]) < 100_000
    assert max(it.log for it in figures) < LARGE_LOG_BYTES
    assert max(it.essentials for it in figures) < 20_000
    # Other tests in this process may hold some descriptors open.
    assert spread([it.descriptors for it in settled]) < 20
    assert max(it.tasks for it in figures) < 40
