import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config import format_duration, parse_duration

HUNDRED_YEARS_MS = 36_500 * 86_400_000


@given(st.integers(min_value=1, max_value=HUNDRED_YEARS_MS))
def test_every_number_of_milliseconds_survives_writing_and_reading(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(min_value=1, max_value=36_500), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_what_is_written_again_means_the_same(number: int, unit: str) -> None:
    seconds = parse_duration(f"{number}{unit}")
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("written", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("6h", 21_600), ("3d", 259_200)]
)
def test_each_unit_is_understood(written: str, seconds: float) -> None:
    assert parse_duration(written) == seconds
    assert format_duration(seconds) == written


@given(st.text())
def test_text_is_a_duration_or_is_refused_with_a_sentence(text: str) -> None:
    try:
        assert parse_duration(text) > 0
    except ValueError as error:
        assert str(error).startswith("must be")  # noqa: PT017 - either way is right


@pytest.mark.parametrize(
    "written",
    ["", "s", "5", "5 m", "1h30m", "-5s", "1.5h", "5M", "5min", "\u0665s", " 5s", "5s\n", None, True, [], "1e3s"],
)
def test_other_notations_are_refused(written: object) -> None:
    with pytest.raises(ValueError, match="one whole number and one unit"):
        parse_duration(written)


@pytest.mark.parametrize("written", [60, 1.5, 0])
def test_a_plain_number_is_refused_with_a_hint_at_units(written: float) -> None:
    with pytest.raises(ValueError, match="a plain number has none"):
        parse_duration(written)


def test_durations_are_longer_than_nothing_and_not_longer_than_a_century() -> None:
    with pytest.raises(ValueError, match="longer than zero"):
        parse_duration("0s")
    with pytest.raises(ValueError, match="a hundred years"):
        parse_duration("36501d")
    with pytest.raises(ValueError, match="a hundred years"):
        parse_duration("999999999999999d")
    assert parse_duration("36500d") == HUNDRED_YEARS_MS / 1000
