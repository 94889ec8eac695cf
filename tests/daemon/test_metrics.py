"""The metrics of a real daemon: what it does is counted, and how it stands is said."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from notifier.daemon.configuration import Configuration
from tests.daemon.conftest import ready, status_when, until_swept
from tests.monitoring.metrics import HISTOGRAMS, METRICS
from tests.promtool import promtool
from tests.real_time import until
from tests.web.test_metrics import only, read

if TYPE_CHECKING:
    from notifier.daemon.daemon import Daemon
from tests.daemon.conftest import World

ACME, HR = "source=acme-1", "destination=hr"


async def test_what_it_does_is_counted(world: "World", run: Any) -> None:
    daemon = await run()
    await until_swept(daemon)
    world.complete()
    await status_when(daemon, "hr", "delivered", 1)
    page = read(await daemon.metrics())
    assert only(page, "notifier_events_total", ACME, "type=completion.created") == 1
    assert only(page, "notifier_attempts_total", HR, "decision=delivered", "reason=delivered") == 1
    assert only(page, "notifier_attempt_duration_seconds_count", HR) == 1
    assert only(page, "notifier_delivery_latency_seconds_count", HR) == 1
    assert 0 <= only(page, "notifier_delivery_latency_seconds_sum", HR) < 20
    assert only(page, "notifier_poll_duration_seconds_count") >= 1
    assert only(page, "notifier_source_requests_total", ACME) >= 2
    assert only(page, "notifier_source_records", ACME) == 21
    assert only(page, "notifier_source_state", ACME, "state=ok") == 1
    assert only(page, "notifier_source_sweep_progress_ratio", ACME) == 1
    assert only(page, "notifier_source_poll_interval_seconds", ACME) == 0.1
    started = only(page, "notifier_start_time_seconds")
    for what in ("last_success", "next_poll", "last_sweep"):
        assert started <= only(page, f"notifier_source_{what}_timestamp_seconds", ACME) < started + 3600
    assert only(page, "notifier_destination_delivered_total", HR) == 1
    assert only(page, "notifier_destination_pending", HR) == 0
    assert only(page, "notifier_state_file_bytes", "file=database") > 0
    assert only(page, "notifier_state_file_bytes", "file=wal") > 0
    assert only(page, "notifier_state_file_free_bytes") > 0


@pytest.mark.timeout(30)
async def test_troubles_are_counted_by_their_names(world: "World", run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.daemon.daemon.ALARMS_EVERY", 0.05)
    world.receiver_answers = 410
    daemon = await run()
    await ready(daemon)
    world.complete()
    await status_when(daemon, "hr", "state", "disabled")
    world.api_answers = 500
    await until(lambda: daemon._sources.known("acme-1").state == "failing")
    page = read(await daemon.metrics())
    while "notifier_condition" not in page:
        await asyncio.sleep(0.02)
        page = read(await daemon.metrics())
    assert page["notifier_condition"] == {frozenset({"condition=destination_disabled", "subject=destinations/hr"}): 1}
    assert only(page, "notifier_destination_state", HR, "state=disabled") == 1
    assert only(page, "notifier_destination_pending", HR) == 1
    assert only(page, "notifier_destination_oldest_pending_seconds", HR) > 0
    assert only(page, "notifier_attempts_total", HR, "decision=hold", "reason=gone") == 1
    assert only(page, "notifier_source_failures_total", ACME, "reason=http_status") >= 1
    assert only(page, "notifier_source_state", ACME, "state=failing") == 1
    checked = promtool("check", "metrics", said=await daemon.metrics())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert {name: labels_of(page, name) for name in METRICS} == METRICS


def labels_of(page: dict[str, Any], name: str) -> frozenset[str] | None:
    """Return the names of a metric's labels on a page, without a histogram's own; None when it is not there."""
    series = page.get(f"{name}_count" if name in HISTOGRAMS else name)
    return None if series is None else frozenset(label.partition("=")[0] for labels in series for label in labels)


async def test_what_a_reload_takes_away_is_counted_no_more(world: "World", run: Any) -> None:
    settings = world.settings(sources=2)
    other = settings.destinations["hr"]
    written = settings.model_copy(update={"destinations": {"hr": other, "payroll": other}})
    daemon: Daemon = await run(written, None, Configuration(lambda: written))
    await until_swept(daemon)
    world.complete()
    await status_when(daemon, "payroll", "delivered", 2)
    assert b'destination="payroll"' in await daemon.metrics()
    assert b'source="acme-2"' in await daemon.metrics()
    written = settings.model_copy(update={"sources": {"acme-1": settings.sources["acme-1"]}})
    assert (await daemon.reload()).ok
    page = await daemon.metrics()
    assert b"payroll" not in page
    assert b"acme-2" not in page
    assert only(read(page), "notifier_events_total", ACME, "type=completion.created") == 1
