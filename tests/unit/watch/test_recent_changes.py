"""Recent changes by answers, in whatever order the answers were requested and arrived."""

from hypothesis import given
from hypothesis import strategies as st

from notifier.watch.recent_changes import RecentChanges

keys = st.lists(st.sampled_from("abcdef"), max_size=4)
moments = st.integers(0, 5).map(float)
NEVER = -1.0


@given(st.lists(st.tuples(keys, moments), max_size=8), moments, st.just(NEVER) | moments, keys)
def test_changed_after_returns_later_changes_that_are_not_forgotten(
    noted: list[tuple[list[str], float]], requested_at: float, forgotten_until: float, asked: list[str]
) -> None:
    changes = RecentChanges()
    expected: dict[str, float] = {}
    for changed, at in noted:
        changes.note(changed, at)
        for key in changed:
            if at > max(requested_at, forgotten_until) and key in asked:
                expected[key] = max(at, expected.get(key, at))
    changes.forget_until(forgotten_until)
    assert changes.changed_after(requested_at, asked) == expected
