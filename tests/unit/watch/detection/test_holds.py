"""Limits above which removals, arrivals and changes that come at once are held."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.watch.detection.absences import exceeds_hold_limit
from notifier.watch.detection.holds import Tally, fields_to_hold, hold_limit, must_hold_arrivals

numbers = st.integers(0, 5000)


@pytest.mark.parametrize(
    ("above", "known", "limit"),
    [(0.05, 1000, 50), (0.05, 100, 20), (200, 10, 200), (200, 10**6, 200), (1, 10**6, 20), (30.7, 0, 30)],
)
def test_hold_limit_setting_below_one_is_a_share_and_otherwise_a_number(above: float, known: int, limit: int) -> None:
    assert hold_limit(above, known, 20) == limit


@given(st.floats(0, 10**6), numbers, numbers)
def test_hold_limit_is_never_less_than_few(above: float, known: int, few: int) -> None:
    assert hold_limit(above, known, few) >= few


@given(numbers, numbers, numbers)
def test_must_hold_arrivals_above_the_limit_or_if_some_are_held(arrivals: int, counted: int, limit: int) -> None:
    assert must_hold_arrivals(arrivals, counted, limit, held_already=False) is (
        arrivals > 0 and arrivals + counted > limit
    )
    assert must_hold_arrivals(arrivals, counted, limit, held_already=True) is (arrivals > 0)


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)),
    st.integers(0, 12),
    st.none() | st.sampled_from("abc"),
)
def test_fields_to_hold_returns_fields_above_the_limit_and_the_held_field(
    changed: dict[str, int], counted: dict[str, int], limit: int, already: str | None
) -> None:
    held = fields_to_hold(changed, counted, limit, already)
    assert held == {name for name in changed if name == already or changed[name] + counted.get(name, 0) > limit}


def test_tally_adds_up_arrivals_and_changed_fields() -> None:
    tally = Tally(1.0)
    tally.add(3, {"notes": 2})
    tally.add(4, {"notes": 1, "user_id": 5})
    assert tally == Tally(1.0, 7, Counter(notes=3, user_id=5))


@pytest.mark.parametrize(
    ("suspects", "known", "share", "held"),
    [
        (1, 1, 0.05, False),
        (20, 20, 0.05, False),
        (21, 21, 0.05, True),
        (21, 419, 0.05, True),
        (21, 420, 0.05, False),
        (50, 1000, 0.05, False),
        (51, 1000, 0.05, True),
        (50_000, 1_000_000, 0.05, False),
        (50_001, 1_000_000, 0.05, True),
        (21, 1000, 0.0, True),
        (1000, 1000, 1.0, False),
    ],
)
def test_exceeds_hold_limit_needs_more_than_few_and_more_than_the_share(
    suspects: int, known: int, share: float, held: bool
) -> None:
    assert exceeds_hold_limit(suspects, known, share, 20) is held


@given(numbers, numbers, st.floats(0, 1))
def test_exceeds_hold_limit_stays_true_with_one_more_suspect(suspects: int, known: int, share: float) -> None:
    if exceeds_hold_limit(suspects, known, share, 20):
        assert exceeds_hold_limit(suspects + 1, known, share, 20)
        assert suspects > 20
