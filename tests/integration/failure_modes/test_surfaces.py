"""Every state on every surface: what is shown, what is not shown, and whether the documented remedy ends the state."""

from collections import Counter
from typing import Any

import pytest

from tests.integration.failure_modes.site import Site, Surfaces
from tests.integration.failure_modes.states import STATES, State

SETTLING_MINUTES = 2.0
"""Minutes after which the first poll and the first sweep are over."""

UNUSED = ("nothing was sent yet",)


def check_agreement(seen: Surfaces) -> None:
    """Check that no surface contradicts another."""
    active = {(it["condition"], it["subject"]) for it in seen.status["conditions"]}
    assert seen.metrics == active
    assert seen.listed_conditions == {name for name, _ in active}
    assert bool(active) is (" attention (" in seen.systemd_status), seen.systemd_status
    assert bool(active) is ("attention" in seen.headline), seen.headline
    assert not (active and seen.status["evaluation"]["well"])
    assert not (seen.headline.startswith("All is well") and seen.exit_code)
    assert seen.status["evaluation"]["age_seconds"] < 60


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name.replace(" ", "-"))
async def test_every_surface_shows_each_state(site: Site, state: State, rule_cases: list[dict[str, Any]]) -> None:
    await site.start()
    async with site.prometheus.watching():
        await site.wait_minutes(SETTLING_MINUTES)
        if state.name not in UNUSED:
            site.enter_completions()
            await site.wait_minutes(SETTLING_MINUTES)
        await state.cause(site)
        await site.wait_minutes(state.minutes)
    await site.prometheus.scrape()
    rule_cases.append(site.prometheus.case(state.name, state.prometheus_alerts))
    seen = await site.read_surfaces()
    check_agreement(seen)
    assert seen.conditions == set(state.conditions)
    assert seen.status["sources"]["acme"]["state"] == state.source
    if state.destination:
        assert seen.status["destinations"]["hr"]["state"] == state.destination
    assert set(seen.unready) == set(state.unready), seen.unready
    assert seen.has_heartbeat is state.has_heartbeat
    if not state.conditions:
        assert seen.headline.startswith(state.headline)
    assert bool(seen.exit_code) is (state.is_failing or bool(state.conditions))
    assert (await site.run_command("status", "--exit-code", code=None)).code == seen.exit_code
    alerts = tuple(f"firing {name}" for name in state.conditions) if state.alerts is None else state.alerts
    assert Counter(site.alerts) == Counter(alerts)
    if state.apply_remedy is not None:
        await end_and_check(site, state)


async def end_and_check(site: Site, state: State) -> None:
    """End a state by its remedy, and check that each alert is followed by exactly one final message."""
    assert state.apply_remedy is not None
    await state.apply_remedy(site)
    await site.wait_minutes(state.minutes_to_end)
    seen = await site.read_surfaces()
    check_agreement(seen)
    assert seen.conditions == set()
    assert seen.headline.startswith("All is well"), seen.headline
    assert not seen.exit_code
    for name in state.conditions if state.last_alert_state else ():
        alerts = [alert for alert in site.alerts if alert.endswith(f" {name}")]
        assert alerts[-1] == f"{state.last_alert_state} {name}"
        assert alerts.count(f"{state.last_alert_state} {name}") == 1
        assert alerts[:-1] == [f"firing {name}"] * max(1, (state.alerts or ()).count(f"firing {name}"))
