"""The metrics page: its values, its format, and the limit on the number of series."""

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from notifier.delivery.policy.retry import Decision
from notifier.destinations.outcome import AttemptResult
from notifier.events import Event
from notifier.kpa.errors import ApiErrorReason
from notifier.store.tables.outbox import Delivery, DeliveryState
from notifier.store.tables.second_looks import LookKind
from notifier.store.tables.settlements import Settlement
from notifier.watch.detection.holds import Direction
from notifier.web.metrics.counters import Counters
from notifier.web.metrics.page import render
from notifier.web.metrics.snapshot import DestinationFigures, MetricsSnapshot, SourceFigures, StoreFigures
from tests.support.metric_page import only, read
from tests.support.promtool import promtool

if TYPE_CHECKING:
    from tests.support.local_interface import Interface

NOW = 1_795_280_400_000
POLLED_SOURCE = SourceFigures(
    state="ok",
    records=1238,
    last_success_ms=NOW - 2_000,
    next_poll_ms=NOW + 58_000,
    poll_interval_seconds=60.0,
    requests=17,
    allowed_per_minute=24.0,
    used_last_minute=6,
    sweep_progress=0.25,
    last_sweep_ms=NOW - 3_600_000,
    held={Direction.REMOVALS: 40, Direction.ARRIVALS: 0, Direction.CHANGES: 7},
    second_looks={LookKind.REMOVAL: 2, LookKind.RETURN: 0, LookKind.EARLIER_FORM: 1},
    unexplained=-3,
    count_offset=5,
    unreadable=4,
    unreadable_field="date_number",
    used_by_purpose={"head": 1, "sweep": 5},
    searching=True,
)
FAILING_DESTINATION = DestinationFigures("retrying", 3, 2, NOW - 1_500)
NEVER_POLLED_SOURCE = replace(
    POLLED_SOURCE, state="starting", records=0, last_success_ms=None, next_poll_ms=None, last_sweep_ms=None
)


def make_snapshot(sources: int = 1, destinations: int = 1) -> MetricsSnapshot:
    return MetricsSnapshot(
        now_ms=NOW,
        started_ms=NOW - 60_000,
        sources={f"acme-{number}": POLLED_SOURCE for number in range(sources)},
        destinations={f"hr-{number}": FAILING_DESTINATION for number in range(destinations)},
        conditions=[("gap", "sources/acme-0")],
        store_address="db.example.com:5432/notifier/notifier",
        store=StoreFigures({"database": 4096, "wal": 0}, 10**9),
        readers=2,
    )


def make_counters(sources: int = 1, destinations: int = 1) -> Counters:
    counts = Counters()
    counts.keep_only(
        [f"acme-{number}" for number in range(sources)], [f"hr-{number}" for number in range(destinations)]
    )
    return counts


def render_page(counts: Counters, snapshot: MetricsSnapshot) -> bytes:
    return render(snapshot, counts.series())


def make_event(source: str = "acme-0", type_: str = "completion.created", time_ms: int = NOW) -> Event:
    return Event(1, "evt_1", type_, source, "1", time_ms, b"{}")


def record_settled(
    counts: Counters, state: str, decision: str, reason: str, *events: Event, to: str = "hr-0", again: bool = False
) -> None:
    """Record a request that took half a second, with this decision about it."""
    settlements = [
        Settlement((it.sequence,), to, DeliveryState(state), decision, reason, 200, "", NOW, 500, 0) for it in events
    ]
    counts.record_attempt([Delivery(it, to, again=again) for it in events], settlements)


def test_metrics_page_shows_the_values_of_the_snapshot() -> None:
    page = read(render_page(make_counters(), make_snapshot()))
    acme, hr = "source=acme-0", "destination=hr-0"
    assert only(page, "notifier_start_time_seconds") == NOW / 1000 - 60
    assert {labels: value for labels, value in page["notifier_source_state"].items() if value} == {
        frozenset({acme, "state=ok"}): 1
    }
    assert len(page["notifier_source_state"]) == 4
    assert only(page, "notifier_source_records", acme) == 1238
    assert only(page, "notifier_source_last_success_timestamp_seconds", acme) == NOW / 1000 - 2
    assert only(page, "notifier_source_next_poll_timestamp_seconds", acme) == NOW / 1000 + 58
    assert only(page, "notifier_source_poll_interval_seconds", acme) == 60
    assert only(page, "notifier_source_requests_total", acme) == 17
    assert only(page, "notifier_source_budget_allowed_per_minute", acme) == 24
    assert only(page, "notifier_source_budget_used_ratio", acme) == 0.25
    assert page["notifier_source_budget_used_requests"] == {
        frozenset({acme, "purpose=head"}): 1,
        frozenset({acme, "purpose=sweep"}): 5,
    }
    assert page["notifier_source_held_records"] == {
        frozenset({acme, "what=removals"}): 40,
        frozenset({acme, "what=arrivals"}): 0,
        frozenset({acme, "what=changes"}): 7,
    }
    assert page["notifier_source_second_looks"] == {
        frozenset({acme, "kind=removal"}): 2,
        frozenset({acme, "kind=return"}): 0,
        frozenset({acme, "kind=earlier_form"}): 1,
    }
    assert only(page, "notifier_source_unexplained_records", acme) == -3
    assert only(page, "notifier_source_count_offset_records", acme) == 5
    assert only(page, "notifier_source_unreadable_records", acme, "field=date_number") == 4
    assert only(page, "notifier_source_searching", acme) == 1
    assert only(page, "notifier_source_sweep_progress_ratio", acme) == 0.25
    assert only(page, "notifier_source_last_sweep_timestamp_seconds", acme) == NOW / 1000 - 3600
    assert only(page, "notifier_destination_state", hr, "state=retrying") == 1
    assert only(page, "notifier_destination_state", hr, "state=ok") == 0
    assert only(page, "notifier_destination_pending", hr) == 3
    assert only(page, "notifier_destination_dead", hr) == 2
    assert only(page, "notifier_destination_oldest_pending_seconds", hr) == 1.5
    assert only(page, "notifier_destination_delivered_total", hr) == 0
    assert only(page, "notifier_condition", "condition=gap", "subject=sources/acme-0") == 1
    assert only(page, "notifier_state_file_bytes", "file=database") == 4096
    assert only(page, "notifier_state_file_bytes", "file=wal") == 0
    assert only(page, "notifier_state_file_free_bytes") == 10**9
    assert only(page, "notifier_stream_readers") == 2
    assert only(page, "notifier_process_resident_memory_bytes") > 0
    (version,) = page["notifier_build_info"]
    assert next(iter(version)).startswith("version=")


def test_metrics_page_omits_timestamps_that_are_not_set() -> None:
    nothing_waits = DestinationFigures("ok", 0, 0, None)
    now = replace(
        make_snapshot(), sources={"acme-0": NEVER_POLLED_SOURCE}, destinations={"hr-0": nothing_waits}, conditions=()
    )
    page = read(render_page(make_counters(), now))
    for name in ("last_success_timestamp", "next_poll_timestamp", "last_sweep_timestamp"):
        assert f"notifier_source_{name}_seconds" not in page
    assert only(page, "notifier_source_state", "source=acme-0", "state=starting") == 1
    assert only(page, "notifier_destination_oldest_pending_seconds", "destination=hr-0") == 0
    assert "notifier_condition" not in page


def test_events_total_counts_by_source_and_type_and_alerts_without_a_source() -> None:
    counts = make_counters()
    assert (
        only(
            read(render_page(counts, make_snapshot())),
            "notifier_events_total",
            "source=acme-0",
            "type=completion.updated",
        )
        == 0
    )
    counts.count_events(
        [make_event(), make_event(), make_event(type_="completion.removed"), make_event("", "notifier.alert")]
    )
    page = read(render_page(counts, make_snapshot()))
    assert only(page, "notifier_events_total", "source=acme-0", "type=completion.created") == 2
    assert only(page, "notifier_events_total", "source=acme-0", "type=completion.removed") == 1
    assert only(page, "notifier_events_total", "source=", "type=notifier.alert") == 1


def test_source_failures_total_counts_by_reason() -> None:
    counts = make_counters()
    for reason in ("timeout", "timeout", "token_invalid"):
        counts.count_failure("acme-0", reason)
    page = read(render_page(counts, make_snapshot()))
    assert only(page, "notifier_source_failures_total", "source=acme-0", "reason=timeout") == 2
    assert only(page, "notifier_source_failures_total", "source=acme-0", "reason=token_invalid") == 1


def test_failure_series_start_at_zero_for_each_reason() -> None:
    counts = make_counters()
    page = read(render_page(counts, make_snapshot()))
    for reason in ApiErrorReason:
        assert only(page, "notifier_source_failures_total", "source=acme-0", f"reason={reason}") == 0
    told = {label for labels in page["notifier_attempts_total"] for label in labels if label.startswith("reason=")}
    assert told == {f"reason={result}" for result in AttemptResult}
    hr = "destination=hr-0"
    for decision, count_failure in [("wait_for_endpoint", "server_error"), ("hold", "gone"), ("give_up", "refused")]:
        assert only(page, "notifier_attempts_total", hr, f"decision={decision}", f"reason={count_failure}") == 0


def test_delivery_latency_ignores_deliveries_that_are_sent_again_on_request() -> None:
    counts = make_counters()
    month_ago = make_event(time_ms=NOW - 30 * 86_400_000)
    record_settled(counts, "delivered", "delivered", "delivered", month_ago, again=True)
    page = read(render_page(counts, make_snapshot()))
    assert only(page, "notifier_delivery_latency_seconds_count", "destination=hr-0") == 0
    assert only(page, "notifier_attempt_duration_seconds_count", "destination=hr-0") == 1
    counts.record_attempt(
        [Delivery(month_ago, "hr-0", again=True), Delivery(make_event(time_ms=NOW - 1_500), "hr-0")],
        [Settlement((1, 2), "hr-0", DeliveryState.DELIVERED, "delivered", "delivered", 200, "", NOW, 500, 0)],
    )
    page = read(render_page(counts, make_snapshot()))
    assert only(page, "notifier_delivery_latency_seconds_sum", "destination=hr-0") == 2


def test_metrics_page_omits_a_last_success_in_the_future() -> None:
    ahead = replace(POLLED_SOURCE, last_success_ms=NOW + 3 * 86_400_000)
    page = read(render_page(make_counters(), replace(make_snapshot(), sources={"acme-0": ahead})))
    assert "notifier_source_last_success_timestamp_seconds" not in page


def test_attempts_total_counts_events_and_attempt_duration_measures_requests() -> None:
    counts = make_counters()
    record_settled(counts, "pending", "wait_for_endpoint", "timeout", make_event(), make_event())
    record_settled(
        counts, "delivered", "delivered", "delivered", make_event(time_ms=NOW - 1_500), make_event(time_ms=NOW + 9_000)
    )
    record_settled(counts, "delivered", "delivered", "delivered", make_event(time_ms=NOW + 9_000))
    counts.record_poll(0.2)
    page = read(render_page(counts, make_snapshot()))
    hr = "destination=hr-0"
    assert only(page, "notifier_attempts_total", hr, "decision=wait_for_endpoint", "reason=timeout") == 2
    assert only(page, "notifier_attempts_total", hr, "decision=delivered", "reason=delivered") == 3
    assert only(page, "notifier_destination_delivered_total", hr) == 3
    assert only(page, "notifier_attempt_duration_seconds_count", hr) == 3
    assert only(page, "notifier_attempt_duration_seconds_sum", hr) == 1.5
    # One is 2 s, from the detection of the older event; the other is 0, because a clock was set after the detection.
    assert only(page, "notifier_delivery_latency_seconds_count", hr) == 2
    assert only(page, "notifier_delivery_latency_seconds_sum", hr) == 2
    assert only(page, "notifier_delivery_latency_seconds_bucket", hr, "le=2.5") == 2
    assert only(page, "notifier_delivery_latency_seconds_bucket", hr, "le=1.0") == 1
    assert only(page, "notifier_poll_duration_seconds_bucket", "le=0.25") == 1


def test_keep_only_drops_removed_names_and_their_later_counts() -> None:
    counts = make_counters(2, 2)
    counts.count_failure("acme-1", "timeout")
    record_settled(counts, "delivered", "delivered", "delivered", make_event(), to="hr-1")
    counts.keep_only(["acme-0"], ["hr-0"])
    # Requests that were still under way.
    counts.count_failure("acme-1", "timeout")
    counts.count_events([make_event("acme-1")])
    record_settled(counts, "delivered", "delivered", "delivered", make_event(), to="hr-1")
    page = render_page(counts, make_snapshot())
    assert b"acme-0" in page
    assert b"acme-1" not in page
    assert b"hr-1" not in page
    counts.keep_only(["acme-0", "acme-1"], ["hr-0", "hr-1"])
    again = read(render_page(counts, make_snapshot()))
    assert only(again, "notifier_events_total", "source=acme-1", "type=completion.created") == 0
    assert only(again, "notifier_attempt_duration_seconds_count", "destination=hr-1") == 0


@pytest.mark.parametrize("name", ["notifier_attempts", "notifier_poll_duration_seconds"])
def test_metrics_page_has_no_created_series(name: str) -> None:
    assert f"{name}_created".encode() not in render_page(make_counters(), make_snapshot())


def test_metrics_page_with_1000_sources_has_a_bounded_number_of_series() -> None:
    sources, destinations = 1_000, 20
    counts = make_counters(sources, destinations)
    for number in range(sources):
        for reason in ("timeout", "rate_limit_exceeded", "server_error"):
            counts.count_failure(f"acme-{number}", reason)
        counts.count_events(
            [make_event(f"acme-{number}", type_) for type_ in ("completion.created", "completion.removed")]
        )
    for number in range(destinations):
        record_settled(counts, "delivered", "delivered", "delivered", make_event(), to=f"hr-{number}")
    page = render_page(counts, make_snapshot(sources, destinations))
    series = read(page)
    values = defaultdict[str, set[str]](set)
    for found in series.values():
        for labels in found:
            for label in labels:
                name, _, value = label.partition("=")
                values[name].add(value)
    assert {name: len(found) for name, found in values.items()} == {
        "source": sources + 1,
        "purpose": 2,
        "what": 3,
        "store": 1,
        "kind": 3,
        "field": 1,
        "destination": destinations,
        "state": 9,
        "type": 4,
        "reason": len({*ApiErrorReason, *AttemptResult}),
        "decision": len(Decision),
        "condition": 1,
        "subject": 1,
        "file": 2,
        "version": 1,
        "le": len({label for found in series.values() for labels in found for label in labels if label[:3] == "le="}),
    }
    # For each source: four states, nine gauges, requests, three types, and every reason.
    assert sum(len(found) for found in series.values()) < sources * 60 + destinations * 110 + 100
    checked = promtool("check", "metrics", said=page)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_metrics_page_passes_promtool_without_remarks() -> None:
    counts = make_counters()
    record_settled(counts, "pending", "wait_for_endpoint", "timeout", make_event())
    checked = promtool("check", "metrics", said=render_page(counts, make_snapshot()))
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert all(
        not math.isnan(value)
        for found in read(render_page(counts, make_snapshot())).values()
        for value in found.values()
    )


async def test_metrics_endpoint_uses_the_prometheus_content_type(interface: "Interface") -> None:
    async with interface.over_tcp.get(f"{interface.url}/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        assert await response.read() == b"notifier_up 1\n"
