"""A day of a daemon's life: whatever could grow with every round or every event does not."""

import logging
from pathlib import Path

from notifier.daemon.file_upkeep import LARGE_LOG_BYTES
from tests.support.long_run import EDITS_AN_HOUR, Figures, soak

HOURS = 24
SAMPLES = 8


def spread(values: list[int]) -> int:
    return max(values) - min(values)


def test_nothing_grows(tmp_path: Path) -> None:
    figures: list[Figures] = []
    # Its log is another test's, and pytest keeps every line.
    logging.disable(logging.CRITICAL)
    try:
        soak(tmp_path, HOURS * 60, SAMPLES, figures.append, retention="3h")
    finally:
        logging.disable(logging.NOTSET)
    assert [it.rounds for it in figures] == [HOURS * 60 // SAMPLES * number for number in range(1, SAMPLES + 1)]
    assert figures[-1].events >= EDITS_AN_HOUR * (HOURS - 2)
    # By now everything has been used once, and events have begun to be forgotten.
    settled = figures[3:]
    rounds = settled[-1].rounds - settled[0].rounds
    # By the lowest figures at both ends: what other work of this process leaves behind comes and goes.
    grown = min(it.objects for it in settled[-2:]) - min(it.objects for it in settled[:2])
    assert grown < rounds // 2
    assert settled[-1].resident - settled[0].resident < 4_000_000
    assert spread([it.file for it in settled]) < 100_000
    assert max(it.log for it in figures) < LARGE_LOG_BYTES
    assert max(it.essentials for it in figures) < 20_000
    # Other tests of this process may hold some open.
    assert spread([it.descriptors for it in settled]) < 20
    assert max(it.tasks for it in figures) < 40
