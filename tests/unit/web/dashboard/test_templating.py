"""Times, durations and texts as the pages show them."""

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
def test_relative_time_uses_one_unit(seconds: int, said: str) -> None:
    assert filters.relative_time(NOW + seconds * 1000, NOW) == said


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0, "0 ms"), (999, "999 ms"), (1000, "1.0 s"), (9_900, "9.9 s"), (45_000, "45 s"), (720_000, "12 min")],
)
def test_duration_uses_one_unit(ms: int, said: str) -> None:
    assert filters.duration(ms) == said


def test_ago_and_at_contain_the_exact_time() -> None:
    assert filters.ago("2026-11-21T17:00:00.123Z", NOW + 5000) == (
        '<time datetime="2026-11-21T17:00:00.123Z" title="2026-11-21 17:00:00 UTC" data-shown="distance">5 s ago</time>'
    )
    assert ">2026-11-21 17:00:00 UTC</time>" in filters.at(NOW)


def test_shorten_truncates_to_120_characters() -> None:
    assert filters.shorten("x" * 10_000) == "x" * 119 + "…"
    assert filters.shorten("x" * 120) == "x" * 120


def test_shorten_message_cuts_between_clauses() -> None:
    assert filters.shorten_message(f"{'x' * 60}; {'y' * 40}; check `url`") == f"{'x' * 60}; {'y' * 40}; check `url`"
    assert filters.shorten_message(f"{'x' * 60}; {'y' * 40}; check the `base_url`") == f"{'x' * 60}; {'y' * 40}"
    assert filters.shorten_message("x" * 200) == filters.shorten("x" * 200)


def test_with_code_turns_backticks_into_code_and_escapes_markup() -> None:
    assert filters.with_code("use `a <b>`, not <b>") == "use <code>a &lt;b&gt;</code>, not &lt;b&gt;"
    assert filters.with_code("`one` and `half") == "`one` and `half"
    assert filters.with_code("<i>") == "&lt;i&gt;"


def test_sentence_capitalizes_and_adds_a_full_stop() -> None:
    assert [filters.sentence(text) for text in ("it is.", "It is", "")] == ["It is.", "It is.", "."]
