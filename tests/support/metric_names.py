"""The metrics of /metrics with their labels; alert rules and dashboards may use only these."""

from pathlib import Path
from typing import Final

from notifier.delivery.health import DestinationState
from notifier.watch.source_health import SourceState

RULES: Final = Path(__file__).parents[2] / "notifier" / "monitoring" / "notifier.rules.yml"

METRICS: Final[dict[str, frozenset[str]]] = {
    name: frozenset(labels.split())
    for name, labels in {
        "notifier_build_info": "version",
        "notifier_start_time_seconds": "",
        "notifier_source_state": "source state",
        "notifier_source_records": "source",
        "notifier_source_last_success_timestamp_seconds": "source",
        "notifier_source_next_poll_timestamp_seconds": "source",
        "notifier_source_poll_interval_seconds": "source",
        "notifier_source_requests_total": "source",
        "notifier_source_failures_total": "source reason",
        "notifier_source_budget_allowed_per_minute": "source",
        "notifier_source_budget_used_ratio": "source",
        "notifier_source_budget_used_requests": "source purpose",
        "notifier_source_held_records": "source what",
        "notifier_source_second_looks": "source kind",
        "notifier_source_unexplained_records": "source",
        "notifier_source_count_offset_records": "source",
        "notifier_source_unreadable_records": "source field",
        "notifier_source_searching": "source",
        "notifier_source_sweep_progress_ratio": "source",
        "notifier_source_last_sweep_timestamp_seconds": "source",
        "notifier_events_total": "source type",
        "notifier_poll_duration_seconds": "",
        "notifier_destination_state": "destination state",
        "notifier_destination_pending": "destination",
        "notifier_destination_dead": "destination",
        "notifier_destination_oldest_pending_seconds": "destination",
        "notifier_destination_delivered_total": "destination",
        "notifier_attempts_total": "destination decision reason",
        "notifier_attempt_duration_seconds": "destination",
        "notifier_delivery_latency_seconds": "destination",
        "notifier_condition": "condition subject",
        "notifier_evaluation_age_seconds": "",
        "notifier_alerts_undelivered_seconds": "",
        "notifier_state_file_bytes": "file",
        "notifier_state_file_free_bytes": "",
        "notifier_holds_store": "store",
        "notifier_stream_readers": "",
        "notifier_process_resident_memory_bytes": "",
        "notifier_process_cpu_seconds_total": "",
        "notifier_process_open_fds": "",
        "notifier_process_max_fds": "",
    }.items()
}
"""The labels of each metric, by name. The series of a histogram have the suffixes _bucket, _sum and _count."""

HISTOGRAMS: Final = frozenset(
    {"notifier_poll_duration_seconds", "notifier_attempt_duration_seconds", "notifier_delivery_latency_seconds"}
)

STATES: Final = {
    "notifier_source_state": frozenset(it.value for it in SourceState),
    "notifier_destination_state": frozenset(it.value for it in DestinationState),
}
"""The values of the label `state`."""
