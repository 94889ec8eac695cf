"""The metrics of a real daemon: they count its work and show its state."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from notifier.daemon.configuration import ReloadHooks
from tests.support.daemon import ready, status_when, until_swept
from tests.support.metric_names import HISTOGRAMS, METRICS
from tests.support.metric_page import only, read
from tests.support.promtool import promtool
from tests.support.waiting import until

if TYPE_CHECKING:
    from notifier.daemon.daemon import Daemon
from tests.support.daemon import World

ACME, HR = "source=acme-1", "destination=hr"


async def test_metrics_count_polls_events_and_deliveries(world: "World", run: Any) -> None:
    daemon = await run()
    await until_swept(daemon)
    world.complete()
    await status_when(daemon, "hr", "delivered", 1)
    page = read(await daemon.operations.metrics())
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


async def test_counters_start_at_zero_after_a_restart(world: "World", run: Any) -> None:
    """Counts from a restored or rebuilt file would be lower, and Prometheus would count everything once more."""
    daemon = await run()
    await until_swept(daemon)
    world.complete()
    await status_when(daemon, "hr", "delivered", 1)
    before = read(await daemon.operations.metrics())
    await daemon.stop()
    after = await run()
    assert (await after.operations.status())["destinations"]["hr"]["delivered"] == 1
    text = await after.operations.metrics()
    page = read(text)
    counters = {
        f"{family.name}{end}"
        for family in text_string_to_metric_families(text.decode())
        for end in {"counter": ("_total",), "histogram": ("_count", "_sum", "_bucket")}.get(family.type, ())
    }
    # This process has only begun to poll.
    begun = {"notifier_source_requests_total", "notifier_process_cpu_seconds_total"}
    for name in sorted(name for name in counters - begun if "poll_duration" not in name):
        assert sum(page[name].values()) == 0, name
        assert sum(before[name].values()) > 0 or "failures" in name, name


@pytest.mark.timeout(30)
async def test_metrics_name_conditions_and_reasons(world: "World", run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 0.05)
    world.receiver_answers = 410
    daemon = await run()
    await ready(daemon)
    world.complete()
    await status_when(daemon, "hr", "state", "disabled")
    # A sweep is complete only when the count agrees with the records that it has found.
    while "notifier_source_last_sweep_timestamp_seconds" not in read(await daemon.operations.metrics()):
        await asyncio.sleep(0.02)
    world.api_answers = 500
    await until(lambda: daemon._sources.watcher("acme-1").state == "failing")
    page = read(await daemon.operations.metrics())
    while "notifier_condition" not in page:
        await asyncio.sleep(0.02)
        page = read(await daemon.operations.metrics())
    assert page["notifier_condition"] == {frozenset({"condition=destination_disabled", "subject=destinations/hr"}): 1}
    assert only(page, "notifier_destination_state", HR, "state=disabled") == 1
    assert only(page, "notifier_destination_pending", HR) == 1
    assert only(page, "notifier_destination_oldest_pending_seconds", HR) > 0
    assert only(page, "notifier_attempts_total", HR, "decision=hold", "reason=gone") == 1
    assert only(page, "notifier_source_failures_total", ACME, "reason=http_status") >= 1
    assert only(page, "notifier_source_state", ACME, "state=failing") == 1
    checked = promtool("check", "metrics", said=await daemon.operations.metrics())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert {name: labels_of(page, name) for name in METRICS} == METRICS


def labels_of(page: dict[str, Any], name: str) -> frozenset[str] | None:
    """Return the names of a metric's labels on a page, without a histogram's own; None when it is not there."""
    series = page.get(f"{name}_count" if name in HISTOGRAMS else name)
    return None if series is None else frozenset(label.partition("=")[0] for labels in series for label in labels)


async def test_metrics_omit_sources_and_destinations_removed_by_a_reload(world: "World", run: Any) -> None:
    settings = world.settings(sources=2)
    other = settings.destinations["hr"]
    written = settings.model_copy(update={"destinations": {"hr": other, "payroll": other}})
    daemon: Daemon = await run(written, None, ReloadHooks(lambda: written))
    await until_swept(daemon)
    world.complete()
    await status_when(daemon, "payroll", "delivered", 2)
    assert b'destination="payroll"' in await daemon.operations.metrics()
    assert b'source="acme-2"' in await daemon.operations.metrics()
    written = settings.model_copy(update={"sources": {"acme-1": settings.sources["acme-1"]}})
    assert (await daemon.reload()).ok
    page = await daemon.operations.metrics()
    assert b"payroll" not in page
    assert b"acme-2" not in page
    assert only(read(page), "notifier_events_total", ACME, "type=completion.created") == 1
