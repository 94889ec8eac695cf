"""What stands around the program: variables that others set, a log that nobody reads, another version of the API."""

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
def test_variables_of_others_are_left_alone_and_mistyped_ones_are_told(case: dict[str, Any], tmp_path: Path) -> None:
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
    """Log, as the daemon does, into a pipe that nobody reads; yield its writing end."""
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
            # The thread gives up each line that waits, now that nobody can ever read it.
            os.close(reading_end)
            handler.flush()


async def test_a_log_that_nobody_reads_keeps_nobody_waiting(world: "World") -> None:
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


@pytest.mark.parametrize("told", [3, 30], ids=["a few", "more than are removed without being held"])
async def test_going_from_version_1_to_2_tells_nothing_again_and_leaves_no_ghosts(
    world: "World", told: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "notifier")
    await world.open(40, api="v1")
    before = world.control.edits.enter(told)
    assert len(await world.told_after(3)) == told
    await world.reload(api="v2")
    await world.sweep()
    assert "records_renumbered" in await world.wait_for_condition("records_renumbered", 10)
    assert len(await world.told_after(5)) == told
    recognised = [
        it
        for it in caplog.records
        if it.getMessage()
        == "the API has given known records new ids; they are matched to the old ones and not reported as new"
    ]
    assert sum(vars(it)["matched"] for it in recognised) == 40 + told
    assert not any(vars(it)["unmatched"] for it in recognised)
    source = await world.source()
    assert (source["records"], source["held"]["removals"]["records"], source["state"]) == (40 + told, 0, "ok")
    # From now on they go by the keys of version 2, and one that goes is gone.
    gone, new = world.delete(before[0]), world.enter()
    assert sorted((await world.told_after(8))[told:]) == sorted([gone, *created(new)])
    assert "removals_held" not in await world.conditions()
