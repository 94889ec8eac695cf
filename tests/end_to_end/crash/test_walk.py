"""A sample of the walk through a state file's life; `python -m tests.end_to_end.crash.walker` walks all of it."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.end_to_end.crash.scenarios import SCENARIOS
from tests.end_to_end.crash.walker import Step, Walker, kind_of
from tests.support.needed_programs import needed

STEPS_OF_EACH = 3
"""Steps of each scenario that are walked here, of those that give or take names and of all others."""

NAMING = ("rename", "link", "unlink")


@pytest.fixture(scope="module")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walker]:
    if os.geteuid() != 0:
        skip = "attaching to a process that is not our child takes root"
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    with closing(Walker(tmp_path_factory.mktemp("walks"), needed("strace", "strace"))) as this:
        yield this


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_or_failed_at_any_step_the_next_start_keeps_the_promise(walker: Walker, scenario: str) -> None:
    steps = list(walker.steps(scenario))
    naming = [step for step in steps if step.call in NAMING]
    others = [step for step in steps if step.call not in NAMING]
    for step in spread(naming) + spread(others):
        try:
            walker.walk(step)
        except AssertionError as error:
            raise AssertionError(f"{step}: {error}") from error


def spread(steps: list[Step]) -> list[Step]:
    """Return some of these steps, from the first on."""
    return steps[:: max(1, len(steps) // STEPS_OF_EACH)][:STEPS_OF_EACH]


EXCHANGES = ("creation", "restore", "rebuild of a damaged file", "rebuild of a file that is gone", "backup", "moving")


@pytest.mark.parametrize("scenario", [*EXCHANGES, "normal work"])
def test_each_rename_is_of_a_file_that_is_on_the_disk_and_is_itself_brought_there(
    walker: Walker, scenario: str
) -> None:
    code, lines, folder = walker.trace(scenario)
    assert code == 0
    synced: set[str] = set()
    waiting: list[tuple[str, str]] = []
    renames = 0
    for line in lines:
        match kind_of(line):
            case "pwrite64" | "ftruncate":
                synced.discard(path_of(line))
            case "fsync" | "fdatasync":
                path = path_of(line)
                synced.add(path)
                waiting = [(fresh, target) for fresh, target in waiting if str(Path(target).parent) != path]
            case "rename":
                fresh, target = re.findall(r'"([^"]*)"', line)[:2]
                assert fresh in synced, f"{fresh} gets its name before it is on the disk"
                assert not waiting, f"{waiting} may be undone by a power cut"
                waiting.append((fresh, target))
                renames += 1
            case _:
                pass
    assert renames > 0
    assert waiting == []
    shutil.rmtree(folder)


def path_of(line: str) -> str:
    """Return the file that a call is about, which strace writes behind its descriptor."""
    found = re.search(r"<([^>]*)>", line)
    assert found is not None, line
    return found[1]
