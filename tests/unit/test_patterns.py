"""Patterns in filters, compared with the rule as one would say it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.patterns import Patterns, admits_nothing, is_person_id, matches_any


def matches_slowly(pattern: str, text: str) -> bool:
    """Match one pattern without `!`, letter by letter."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return matches_slowly(pattern[1:], text) or (bool(text) and matches_slowly(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and matches_slowly(pattern[1:], text[1:])


letters = st.text("abAB[]!.", max_size=4)
globs = st.text("abAB[]*?.", min_size=1, max_size=4)
lists = st.lists(globs | globs.map("!{}".format), max_size=4)


@given(lists, st.lists(letters, max_size=3), st.booleans())
def test_a_list_rejects_what_is_excluded_and_what_no_pattern_wants(
    written: list[str], texts: list[str], is_complete: bool
) -> None:
    wanted = [pattern for pattern in written if not pattern.startswith("!")]
    excluded = [pattern[1:] for pattern in written if pattern.startswith("!")]

    def any_fits(patterns: list[str]) -> bool:
        return any(matches_slowly(pattern.lower(), text.lower()) for pattern in patterns for text in texts)

    expected = any_fits(excluded) or (bool(wanted) and is_complete and not any_fits(wanted))
    assert Patterns.of(written).rejects(texts, is_complete=is_complete) is expected


@given(lists, st.lists(letters, max_size=2), letters)
def test_a_list_needs_no_more_texts_only_if_none_can_change_its_answer(
    written: list[str], texts: list[str], more: str
) -> None:
    patterns = Patterns.of(written)
    if not patterns.could_change(texts):
        assert patterns.rejects([*texts, more]) is patterns.rejects(texts, is_complete=False)


@pytest.mark.parametrize(
    ("written", "texts", "is_needed"),
    [([], [], False), (["a"], [], True), (["a"], ["a"], False), (["!a"], ["b"], True), (["!a"], ["a"], False)],
)
def test_what_is_not_known_matters_to_some_lists(written: list[str], texts: list[str], is_needed: bool) -> None:
    assert Patterns.of(written).could_change(texts) is is_needed


@given(globs, letters)
def test_one_pattern_matches_with_and_without_its_mark(pattern: str, text: str) -> None:
    assert (
        matches_any(pattern, [text])
        is matches_any(f"!{pattern}", [text])
        is matches_slowly(pattern.lower(), text.lower())
    )


@pytest.mark.parametrize(
    ("title", "is_sent"),
    [("Crane Operation", True), ("CRANE REFRESHER", False), ("Overhead Crane", False), ("crane", True)],
)
def test_the_example_of_the_documentation(title: str, is_sent: bool) -> None:
    assert Patterns.of(["Crane*", "!Crane Refresher"]).rejects([title]) is not is_sent


@given(lists, letters)
def test_a_list_that_admits_nothing_rejects_each_text(written: list[str], text: str) -> None:
    if admits_nothing(written):
        assert Patterns.of(written).rejects([text])


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([], False),
        (["!*"], True),
        (["!**"], True),
        (["!?*"], False),
        (["*"], False),
        (["Crane*", "!Crane*"], True),
        (["Crane*", "!CRANE*"], True),
        (["Crane Operator", "Crane?", "!*crane*"], True),
        (["Crane*", "Ladder*", "!Crane*"], False),
        (["Crane*", "!Crane?"], False),
        (["Crane?", "!Crane*"], True),
        (["Crane*", "!Crane*er"], False),
        (["a", "!" + "?" * 500], False),
    ],
)
def test_a_list_that_admits_nothing_is_known(written: list[str], expected: bool) -> None:
    assert admits_nothing(written) is expected


def test_an_empty_list_admits_everything_and_exclusions_alone_the_rest() -> None:
    assert not Patterns.of([]).rejects([])
    assert not Patterns.of([])
    assert not Patterns.of(["!a*"]).rejects(["b"])
    assert Patterns.of(["!a*"]).rejects(["b", "ab"])


def test_brackets_and_letters_beyond_ascii_stand_for_themselves() -> None:
    assert not Patterns.of(["Erste Hilfe [STRASSE]"]).rejects(["erste hilfe [straße]"])
    assert Patterns.of(["[ab]"]).rejects(["a"])


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    began = time.monotonic()
    assert Patterns.of(["*a" * 100 + "b"]).rejects(["a" * 10_000])
    assert time.monotonic() - began < 2


def test_an_id_is_told_from_an_employee_number() -> None:
    assert is_person_id("5e580f0cb780600088bd2c11")
    assert is_person_id("!5e580f0cb780600088bd2c11")
    assert not is_person_id("AC-17")
