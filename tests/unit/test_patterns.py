"""Patterns in filters, compared with a simple implementation of their rule."""

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
def test_patterns_reject_excluded_texts_and_texts_that_match_no_pattern(
    written: list[str], texts: list[str], is_complete: bool
) -> None:
    wanted = [pattern for pattern in written if not pattern.startswith("!")]
    excluded = [pattern[1:] for pattern in written if pattern.startswith("!")]

    def any_fits(patterns: list[str]) -> bool:
        return any(matches_slowly(pattern.lower(), text.lower()) for pattern in patterns for text in texts)

    expected = any_fits(excluded) or (bool(wanted) and is_complete and not any_fits(wanted))
    assert Patterns.of(written).rejects(texts, is_complete=is_complete) is expected


@given(lists, st.lists(letters, max_size=2), letters)
def test_could_change_false_means_that_another_text_keeps_the_answer(
    written: list[str], texts: list[str], more: str
) -> None:
    patterns = Patterns.of(written)
    if not patterns.could_change(texts):
        assert patterns.rejects([*texts, more]) is patterns.rejects(texts, is_complete=False)


@pytest.mark.parametrize(
    ("written", "texts", "is_needed"),
    [([], [], False), (["a"], [], True), (["a"], ["a"], False), (["!a"], ["b"], True), (["!a"], ["a"], False)],
)
def test_could_change_depends_on_patterns_and_texts(written: list[str], texts: list[str], is_needed: bool) -> None:
    assert Patterns.of(written).could_change(texts) is is_needed


@given(globs, letters)
def test_matches_any_ignores_a_leading_exclamation_mark(pattern: str, text: str) -> None:
    assert (
        matches_any(pattern, [text])
        is matches_any(f"!{pattern}", [text])
        is matches_slowly(pattern.lower(), text.lower())
    )


@pytest.mark.parametrize(
    ("title", "is_sent"),
    [("Crane Operation", True), ("CRANE REFRESHER", False), ("Overhead Crane", False), ("crane", True)],
)
def test_patterns_follow_the_example_in_the_documentation(title: str, is_sent: bool) -> None:
    assert Patterns.of(["Crane*", "!Crane Refresher"]).rejects([title]) is not is_sent


@given(lists, letters)
def test_admits_nothing_means_that_every_text_is_rejected(written: list[str], text: str) -> None:
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
def test_admits_nothing_detects_exclusions_that_cover_everything(written: list[str], expected: bool) -> None:
    assert admits_nothing(written) is expected


def test_patterns_empty_admit_all_and_exclusions_alone_admit_the_rest() -> None:
    assert not Patterns.of([]).rejects([])
    assert not Patterns.of([])
    assert not Patterns.of(["!a*"]).rejects(["b"])
    assert Patterns.of(["!a*"]).rejects(["b", "ab"])


def test_patterns_take_brackets_literally_and_fold_case_of_non_ascii_letters() -> None:
    assert not Patterns.of(["Erste Hilfe [STRASSE]"]).rejects(["erste hilfe [straße]"])
    assert Patterns.of(["[ab]"]).rejects(["a"])


def test_patterns_with_100_stars_are_evaluated_within_2_seconds() -> None:
    began = time.monotonic()
    assert Patterns.of(["*a" * 100 + "b"]).rejects(["a" * 10_000])
    assert time.monotonic() - began < 2


def test_is_person_id_distinguishes_an_id_from_an_employee_number() -> None:
    assert is_person_id("5e580f0cb780600088bd2c11")
    assert is_person_id("!5e580f0cb780600088bd2c11")
    assert not is_person_id("AC-17")
