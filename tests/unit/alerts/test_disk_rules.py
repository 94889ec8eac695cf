"""The free space for the state file, and the condition `disk_nearly_full`."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alerts.conditions import ConditionName
from notifier.alerts.disk_rules import MIN_FREE_BYTES, FreeSpace, conditions, is_nearly_full, measure_free_space
from notifier.store.errors import StoreError, StoreReason

HERE = Path("/var/lib/notifier")
FIRING = {(ConditionName.DISK_NEARLY_FULL.value, "store")}
sizes = st.integers(0, 10**13)


def free_space(free: int, total: int = 10**11) -> FreeSpace:
    return FreeSpace(HERE, free, total)


@pytest.mark.parametrize(
    ("free", "total", "is_firing", "nearly_full"),
    [
        (MIN_FREE_BYTES, 10**11, False, False),
        (MIN_FREE_BYTES - 1, 10**11, False, True),
        (2 * MIN_FREE_BYTES, 10**11, True, False),
        (2 * MIN_FREE_BYTES - 1, 10**11, True, True),
        (10_000_000, 100_000_000, False, False),
        (9_999_999, 100_000_000, False, True),
        (19_999_999, 100_000_000, True, True),
        (0, 10**11, False, True),
    ],
)
def test_disk_is_nearly_full_below_a_limit_and_until_twice_the_limit_is_free(
    free: int, total: int, *, is_firing: bool, nearly_full: bool
) -> None:
    assert is_nearly_full(free_space(free, total), is_firing=is_firing) is nearly_full


@given(sizes, sizes)
def test_firing_disk_nearly_full_remains_wherever_it_would_begin(free: int, total: int) -> None:
    assert is_nearly_full(free_space(free, total), is_firing=True) or not is_nearly_full(
        free_space(free, total), is_firing=False
    )


def test_disk_nearly_full_names_the_folder_and_keeps_its_text_while_it_lasts() -> None:
    (begins,) = conditions(free_space(MIN_FREE_BYTES - 1), ())
    (goes_on,) = conditions(free_space(2 * MIN_FREE_BYTES - 1), FIRING)
    assert begins == goes_on
    assert (begins.name, begins.subject) == (ConditionName.DISK_NEARLY_FULL, "store")
    assert begins.summary.startswith("less than 400 MB are free in /var/lib/notifier, where the state file is; free")
    assert list(conditions(free_space(2 * MIN_FREE_BYTES), FIRING)) == []


async def test_measure_free_space_measures_the_folder_of_the_state_file(tmp_path: Path) -> None:
    seen = await measure_free_space(tmp_path / "notifier.db")
    assert seen.path == tmp_path
    assert 0 <= seen.free_bytes <= seen.total_bytes


async def test_measure_free_space_of_a_missing_folder_raises_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the free space in the folder of state file") as trouble:
        await measure_free_space(tmp_path / "gone" / "notifier.db")
    assert trouble.value.reason is StoreReason.IO_ERROR
