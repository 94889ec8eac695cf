"""Every state on every surface: what is shown, what must not be shown, and that the printed remedy ends the state."""

from collections import Counter
from typing import Any

import pytest

from tests.integration.truth.site import Seen, Site
from tests.integration.truth.states import STATES, State

SETTLED = 2.0
"""Minutes after which the first poll and the first sweep are over."""

NEW = ("nothing was sent yet",)


def check_agreement(seen: Seen) -> None:
    """Check that no surface contradicts another."""
    stands = {(it["condition"], it["subject"]) for it in seen.status["conditions"]}
    assert seen.metrics == stands
    assert seen.listed == {name for name, _ in stands}
    assert bool(stands) is (" attention (" in seen.systemd), seen.systemd
    assert bool(stands) is ("attention" in seen.headline), seen.headline
    assert not (stands and seen.status["evaluation"]["well"])
    assert not (seen.headline.startswith("All is well") and seen.ends_with)
    assert seen.status["evaluation"]["age_seconds"] < 60


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name.replace(" ", "-"))
async def test_every_surface_shows_each_state(site: Site, state: State, rule_cases: list[dict[str, Any]]) -> None:
    await site.start()
    async with site.prometheus.watching():
        await site.minutes(SETTLED)
        if state.name not in NEW:
            site.completes()
            await site.minutes(SETTLED)
        await state.make(site)
        await site.minutes(state.minutes)
    await site.prometheus.scrape()
    rule_cases.append(site.prometheus.case(state.name, state.rules))
    seen = await site.look()
    check_agreement(seen)
    assert seen.stands == set(state.stands)
    assert seen.status["sources"]["acme"]["state"] == state.source
    if state.destination:
        assert seen.status["destinations"]["hr"]["state"] == state.destination
    assert set(seen.unready) == set(state.unready), seen.unready
    assert seen.beats is state.beats
    if not state.stands:
        assert seen.headline.startswith(state.headline)
    assert bool(seen.ends_with) is (state.fails or bool(state.stands))
    assert (await site.types("status", "--exit-code", code=None)).code == seen.ends_with
    told = tuple(f"firing {name}" for name in state.stands) if state.told is None else state.told
    assert Counter(site.alerts) == Counter(told)
    if state.mend is not None:
        await end_and_check(site, state)


async def end_and_check(site: Site, state: State) -> None:
    """End a state by its remedy, and check that each alert is followed by exactly one final message."""
    assert state.mend is not None
    await state.mend(site)
    await site.minutes(state.ends_after)
    seen = await site.look()
    check_agreement(seen)
    assert seen.stands == set()
    assert seen.headline.startswith("All is well"), seen.headline
    assert not seen.ends_with
    for name in state.stands if state.ends else ():
        words = [word for word in site.alerts if word.endswith(f" {name}")]
        assert words[-1] == f"{state.ends} {name}"
        assert words.count(f"{state.ends} {name}") == 1
        assert words[:-1] == [f"firing {name}"] * max(1, (state.told or ()).count(f"firing {name}"))
