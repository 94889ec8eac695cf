"""Properties of expiry under random events and kills: each seed makes a story.

By hand, for an hour: `python -m tests.simulation.test_expiry 3600`. It prints the seeds that fail; add them to FAILED.
"""

import sys
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.simulation.expiry import run_story

FAILED: Sequence[int] = ()
"""Seeds of stories that failed in the past."""

FAILED_BY_LIST: Sequence[int] = ()
"""Seeds of stories with an employee status list that failed in the past."""


@pytest.mark.parametrize("seed", [*FAILED, *range(1, 4)])
def test_random_story_announces_each_end_once_and_cancels_ends_that_change(seed: int) -> None:
    run_story(seed)


@pytest.mark.parametrize("seed", [*FAILED_BY_LIST, *range(1, 4)])
def test_random_story_with_an_employee_status_list_announces_each_end_once(seed: int) -> None:
    run_story(seed, follows_list=True)


def test_story_contains_every_type_of_event_and_several_kills() -> None:
    world = run_story(1)
    told = Counter(event.type.removeprefix("completion.") for event in world.events)
    assert min(told[kind] for kind in ("created", "updated", "removed", "expiring", "expired", "renewed")) >= 5, told
    assert world.kills >= 5


def main(seconds: float) -> None:
    """Run one story after another for a number of seconds."""
    end, seed, failed = time.monotonic() + seconds, 1000, []
    while time.monotonic() < end:
        try:
            run_story(seed, follows_list=seed % 2 == 0)
        except AssertionError as error:
            failed.append(seed)
            sys.stdout.write(f"seed {seed}: {error}\n")
        seed += 1
    sys.stdout.write(f"{seed - 1000} stories, failed: {failed or 'none'}\n")


if __name__ == "__main__":
    main(float(sys.argv[1]))
