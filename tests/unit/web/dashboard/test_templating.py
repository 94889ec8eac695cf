"""Moments, numbers and names as the pages write them."""

import pytest

from notifier.web.dashboard import filters

NOW = 1_795_280_400_123


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "now"),
        (-1, "1 s ago"),
        (-59, "59 s ago"),
        (-60, "1 min ago"),
        (-7200, "2 h ago"),
        (-200_000, "2 d ago"),
        (90, "in 1 min"),
    ],
)
def test_a_distance_is_short(seconds: int, said: str) -> None:
    assert filters.relative_time(NOW + seconds * 1000, NOW) == said


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0, "0 ms"), (999, "999 ms"), (1000, "1.0 s"), (9_900, "9.9 s"), (45_000, "45 s"), (720_000, "12 min")],
)
def test_a_duration_is_short(ms: int, said: str) -> None:
    assert filters.duration(ms) == said


def test_moments_are_for_machines_too() -> None:
    assert filters.ago("2026-11-21T17:00:00.123Z", NOW + 5000) == (
        '<time datetime="2026-11-21T17:00:00.123Z" title="2026-11-21 17:00:00 UTC" data-shown="distance">5 s ago</time>'
    )
    assert ">2026-11-21 17:00:00 UTC</time>" in filters.at(NOW)


def test_what_nobody_reads_is_cut_off() -> None:
    assert filters.shorten("x" * 10_000) == "x" * 119 + "…"
    assert filters.shorten("x" * 120) == "x" * 120


def test_a_message_is_cut_between_its_clauses() -> None:
    assert filters.shorten_message(f"{'x' * 60}; {'y' * 40}; check `url`") == f"{'x' * 60}; {'y' * 40}; check `url`"
    assert filters.shorten_message(f"{'x' * 60}; {'y' * 40}; check the `base_url`") == f"{'x' * 60}; {'y' * 40}"
    assert filters.shorten_message("x" * 200) == filters.shorten("x" * 200)


def test_what_stands_between_backticks_is_code_and_never_markup() -> None:
    assert filters.with_code("use `a <b>`, not <b>") == "use <code>a &lt;b&gt;</code>, not &lt;b&gt;"
    assert filters.with_code("`one` and `half") == "`one` and `half"
    assert filters.with_code("<i>") == "&lt;i&gt;"


def test_a_sentence_begins_and_ends_as_one() -> None:
    assert [filters.sentence(text) for text in ("it is.", "It is", "")] == ["It is.", "It is.", "."]
