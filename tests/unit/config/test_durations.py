import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config import format_duration, parse_duration

HUNDRED_YEARS_MS = 36_500 * 86_400_000


@given(st.integers(min_value=1, max_value=HUNDRED_YEARS_MS))
def test_duration_in_milliseconds_survives_formatting_and_parsing(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(min_value=1, max_value=36_500), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_duration_in_any_unit_survives_parsing_and_formatting(number: int, unit: str) -> None:
    seconds = parse_duration(f"{number}{unit}")
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("written", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("6h", 21_600), ("3d", 259_200)]
)
def test_each_duration_unit_is_parsed_and_formatted(written: str, seconds: float) -> None:
    assert parse_duration(written) == seconds
    assert format_duration(seconds) == written


@given(st.text())
def test_parse_duration_of_any_text_returns_seconds_or_raises_value_error(text: str) -> None:
    try:
        assert parse_duration(text) > 0
    except ValueError as error:
        assert str(error).startswith("must be")  # noqa: PT017 - either way is right


@pytest.mark.parametrize(
    "written",
    ["", "s", "5", "5 m", "1h30m", "-5s", "1.5h", "5M", "5min", "\u0665s", " 5s", "5s\n", None, True, [], "1e3s"],
)
def test_parse_duration_rejects_other_notations(written: object) -> None:
    with pytest.raises(ValueError, match="one whole number and one unit"):
        parse_duration(written)


@pytest.mark.parametrize("written", [60, 1.5, 0])
def test_parse_duration_rejects_a_plain_number_and_names_the_missing_unit(written: float) -> None:
    with pytest.raises(ValueError, match="a plain number has none"):
        parse_duration(written)


def test_parse_duration_rejects_zero_and_more_than_a_hundred_years() -> None:
    with pytest.raises(ValueError, match="longer than zero"):
        parse_duration("0s")
    with pytest.raises(ValueError, match="a hundred years"):
        parse_duration("36501d")
    with pytest.raises(ValueError, match="a hundred years"):
        parse_duration("999999999999999d")
    assert parse_duration("36500d") == HUNDRED_YEARS_MS / 1000
