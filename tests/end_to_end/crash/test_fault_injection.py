"""A sample of all faults in all scenarios; `python -m tests.end_to_end.crash.fault_injection` injects every fault."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.end_to_end.crash.fault_injection import Fault, FaultInjector, call_kind
from tests.end_to_end.crash.scenarios import SCENARIOS
from tests.support.needed_programs import needed

FAULTS_PER_KIND = 3
"""The number of faults that are injected per scenario at RENAMING_CALLS, and the same number at other calls."""

RENAMING_CALLS = ("rename", "link", "unlink")


@pytest.fixture(scope="module")
def injector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultInjector]:
    if os.geteuid() != 0:
        skip = "attaching to a process that is not our child takes root"
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    with closing(FaultInjector(tmp_path_factory.mktemp("walks"), needed("strace", "strace"))) as this:
        yield this


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_start_after_an_injected_fault_keeps_the_stored_data(injector: FaultInjector, scenario: str) -> None:
    faults = list(injector.faults(scenario))
    naming = [fault for fault in faults if fault.call in RENAMING_CALLS]
    others = [fault for fault in faults if fault.call not in RENAMING_CALLS]
    for fault in pick_faults(naming) + pick_faults(others):
        try:
            injector.inject(fault)
        except AssertionError as error:
            raise AssertionError(f"{fault}: {error}") from error


def pick_faults(faults: list[Fault]) -> list[Fault]:
    """Return FAULTS_PER_KIND of these faults, evenly spread."""
    return faults[:: max(1, len(faults) // FAULTS_PER_KIND)][:FAULTS_PER_KIND]


EXCHANGE_SCENARIOS = (
    "creation",
    "restore",
    "rebuild of a damaged file",
    "rebuild of a file that is gone",
    "backup",
    "moving",
)


@pytest.mark.parametrize("scenario", [*EXCHANGE_SCENARIOS, "normal work"])
def test_file_is_synced_before_its_rename_and_its_folder_afterwards(injector: FaultInjector, scenario: str) -> None:
    code, lines, folder = injector.trace(scenario)
    assert code == 0
    synced: set[str] = set()
    waiting: list[tuple[str, str]] = []
    renames = 0
    for line in lines:
        match call_kind(line):
            case "pwrite64" | "ftruncate":
                synced.discard(path_in(line))
            case "fsync" | "fdatasync":
                path = path_in(line)
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


def path_in(line: str) -> str:
    """Return the path that strace writes after the file descriptor of a call."""
    found = re.search(r"<([^>]*)>", line)
    assert found is not None, line
    return found[1]
