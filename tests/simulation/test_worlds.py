"""The watcher and the store in simulated worlds, which are the same in each run.

To search longer by hand: `python -m tests.simulation`, or these tests with SIMULATION_SECONDS for each profile.
"""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.hunting import hunt
from tests.simulation.plans import read_plan
from tests.simulation.profiles import PROFILES

SECONDS = float(os.environ.get("SIMULATION_SECONDS", "0"))

KEPT = [read_plan(path).profile for path in Path(__file__).with_name("plans").glob("*.json")]
"""The profiles that `test_plans` already runs."""

FIRST_SEED = 0


@pytest.mark.parametrize("name", [name for name, profile in PROFILES.items() if SECONDS or profile not in KEPT])
def test_worlds_of_each_profile_have_no_violation(name: str) -> None:
    found = hunt((name,), SECONDS or math.inf, first_seed=FIRST_SEED, stop=True, most_worlds=None if SECONDS else 1)
    print(f"{found.worlds.total()} worlds, {found.requests:,} requests")
    seen = [
        f"{find.kind}: {find.text}\nsee: python -m tests.simulation run {find.profile} {find.seed} --brief"
        for find in found.finds.values()
    ]
    assert not seen, "\n".join(seen)


def test_seed_gives_the_same_story_in_every_process() -> None:
    stories = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "trace", "everything", "3"],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert stories[0] == stories[1]
    assert int(stories[0].split()[1]) > 1000
