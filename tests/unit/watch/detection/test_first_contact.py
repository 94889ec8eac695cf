"""The time of the first contact: by the server's clock, and corrected if the clock of one answer was wrong."""

from hypothesis import given
from hypothesis import strategies as st

from notifier.kpa.client import Page
from notifier.watch.detection.first_contact import ContactEstimate, first_contact

NOW = 1_795_280_400_000
HOUR = 3_600_000
moments = st.integers(1, 2**42)


def page(served_at_ms: int | None, requested_at: float = 0.0, seconds: float = 0.0) -> Page:
    return Page(1, 100, 0, (), (), 1, None, served_at_ms, requested_at, seconds)


@given(moments, st.floats(0, 300), moments)
def test_first_contact_is_the_request_time_by_the_servers_clock(served_at_ms: int, seconds: float, now_ms: int) -> None:
    assert first_contact(page(served_at_ms, seconds=seconds), now_ms) == served_at_ms - round(seconds * 1000)
    assert first_contact(page(None, seconds=seconds), now_ms) == now_ms - round(seconds * 1000)


def estimate(*served_at_ms: int | None, own_ms: int = NOW) -> ContactEstimate:
    """Make an estimate from answers requested a minute apart; each value is the server's clock at the first contact."""
    made = ContactEstimate(requested_at=100.0, own_ms=own_ms)
    for minute, served_ms in enumerate(served_at_ms):
        made.add(page(None if served_ms is None else served_ms + 60_000 * minute, 100.0 + 60 * minute))
    return made


@given(st.lists(st.integers(-2_000, 2_000), max_size=12))
def test_contact_estimate_has_no_correction_if_answers_agree(noise: list[int]) -> None:
    assert estimate(*(NOW + more for more in noise)).correction(NOW) is None


@given(st.integers(-9 * HOUR, 9 * HOUR), st.integers(2, 9))
def test_contact_estimate_corrects_one_answer_ahead_of_all_others(off: int, others: int) -> None:
    """This holds whatever this machine's own clock shows."""
    made = estimate(NOW + 24 * HOUR, *[NOW] * others, own_ms=NOW + off)
    assert made.correction(NOW + 24 * HOUR) == NOW


@given(st.lists(moments, max_size=12), moments, moments)
def test_contact_estimate_never_sets_the_contact_later(served: list[int], contact_ms: int, own_ms: int) -> None:
    corrected = estimate(*served, own_ms=own_ms).correction(contact_ms)
    assert corrected is None or corrected < contact_ms - 5_000


def test_contact_estimate_has_no_correction_without_a_server_clock() -> None:
    assert estimate(None, None, own_ms=NOW - HOUR).correction(NOW) is None
