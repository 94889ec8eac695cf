"""The environment of the program: variables of other programs, and a log that is not read."""

import fcntl
import json
import logging
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from notifier.cli.app import program
from notifier.log import JsonFormatter
from notifier.log_queue import QueuedHandler
from tests.support.detection_world import created

if TYPE_CHECKING:
    from tests.support.detection_world import World

ENVIRONMENTS = json.loads((Path(__file__).parent / "environments.json").read_text(encoding="utf-8"))["environments"]
CONFIGURED = """
[sources.acme]
token = "t0ken"
[destinations.hr]
type = "http"
url = "https://hr.example.com/hook"
secret = "whsec_YSBzZWNyZXQgb2YgMjQgYnl0ZXMgb3IgbW9yZQ=="
"""
SMALLEST_PIPE = 4096


@pytest.mark.parametrize("case", ENVIRONMENTS, ids=[f"{case['case']}: {case['name']}" for case in ENVIRONMENTS])
def test_check_ignores_variables_of_others_and_reports_mistyped_ones(case: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[store]\npath = "{tmp_path / "notifier.db"}"\n{CONFIGURED}', encoding="utf-8")
    checked = CliRunner(env=case["variables"]).invoke(program, ["--config", str(file), "check"], prog_name="notifier")
    if case["problem"] is None:
        assert checked.exit_code == 0, checked.output
        assert not [name for name in case["variables"] if name in checked.output]
    else:
        assert checked.exit_code == 78
        assert case["problem"] in checked.output


@contextmanager
def unread_log() -> Iterator[int]:
    """Log, as the daemon does, into a pipe that is not read; yield its writing end."""
    reading_end, writing_end = os.pipe()
    fcntl.fcntl(writing_end, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE)
    with os.fdopen(writing_end, "w", encoding="utf-8") as stream:
        handler, logger = QueuedHandler(stream), logging.getLogger("notifier")
        handler.setFormatter(JsonFormatter())
        before = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        try:
            yield writing_end
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)
            # The thread drops each waiting line, because it can never be read now.
            os.close(reading_end)
            handler.flush()


async def test_log_that_is_not_read_does_not_block_polls_or_deliveries(world: "World") -> None:
    with unread_log() as pipe:
        await world.open(50)
        entered = world.control.edits.enter(80)
        assert sorted(await world.told_after(10)) == sorted(created(*entered))
        _, writable, _ = select.select([], [pipe], [], 0)
        assert not writable, "the pipe is not full: the test proves nothing"
        await world.restart()
        later = world.enter()
        assert (await world.told_after(5))[80:] == created(later)
        assert await world.conditions() == set()
