"""The sentence that `systemctl status` shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.daemon.api.status_line import summary
from notifier.store.tables.destinations import HealthState
from notifier.watch.source_health import SourceState

OK, FAILING, LIMITED = SourceState.OK, SourceState.FAILING, SourceState.RATE_LIMITED
FINE, RETRYING, DISABLED = HealthState.OK, HealthState.RETRYING, HealthState.DISABLED


@pytest.mark.parametrize(
    ("sources", "destinations", "waiting", "sentence"),
    [
        ([OK], [FINE, FINE], {}, "1 source ok, 2 destinations ok"),
        ([OK, OK, OK], [RETRYING], {"d0": 12}, "3 sources ok, 1 destination retrying (d0: 12 waiting)"),
        (
            [FAILING, OK, LIMITED],
            [DISABLED, FINE],
            {"d0": 1200},
            (
                "1 source ok, 1 source failing (s0), 1 source rate limited (s2), "
                "1 destination ok, 1 destination disabled (d0: 1,200 waiting)"
            ),
        ),
        ([FAILING] * 5, [], {}, "5 sources failing (s0, s1, s2, ...)"),
        ([SourceState.STARTING], [FINE], {}, "1 source starting (s0), 1 destination ok"),
    ],
)
def test_summary_counts_all_states_and_names_those_not_ok(
    sources: list[SourceState], destinations: list[HealthState], waiting: dict[str, int], sentence: str
) -> None:
    line = summary(
        {f"s{number}": state for number, state in enumerate(sources)},
        {f"d{number}": state for number, state in enumerate(destinations)},
        waiting,
    )
    assert line == sentence


@given(
    st.dictionaries(st.text("abc-", min_size=1, max_size=9), st.sampled_from(SourceState), max_size=30),
    st.dictionaries(st.text("abc-", min_size=1, max_size=9), st.sampled_from(HealthState), max_size=30),
)
def test_summary_counts_everything(sources: dict[str, SourceState], destinations: dict[str, HealthState]) -> None:
    line = summary(sources, destinations, {}).replace(", ...", "")
    words = line.split()
    for what, things in (("source", sources), ("destination", destinations)):
        counts = [int(words[at - 1]) for at, word in enumerate(words) if word.rstrip("s") == what]
        assert sum(counts) == len(things)
