"""Formats the object of `GET /v1/replay` as lines of text."""

from collections.abc import Mapping
from typing import Any

from notifier.cli.formatting import format_count, local_time, parse_time_ms


def history_lines(progress: Mapping[str, Any]) -> list[str]:
    """Return lines about the latest two replays, and about older replays that are not finished."""
    if progress["state"] is None:
        return ["no replay is stored"]
    return [
        line
        for replay in (progress, progress["previous"], *progress["others"])
        if replay
        for line in _replay_lines(replay)
    ]


def unfinished_lines(replay: Mapping[str, Any]) -> list[str]:
    """Return lines about the deliveries that a replay has not queued yet, and about how to continue the replay."""
    lines = [
        f"  {name}: {part['queued']:,} of {format_count(part['deliveries'], 'delivery', 'deliveries')}, {part['state']}"
        f"{_wait_suffix(part)}"
        for name, part in replay["destinations"].items()
        if part["queued"] < part["deliveries"]
    ]
    if lines and replay["state"] == "running":
        lines.append("  it continues by itself: `notifier replay --status` shows its progress")
    elif lines and replay["goes_on_since"] is not None:
        lines.append(f"  a new one with `--since {replay['goes_on_since']}` continues it")
    return lines


def _replay_lines(replay: Mapping[str, Any]) -> list[str]:
    begun, ended = (local_time(parse_time_ms(replay[key])) for key in ("begun_at", "ended_at"))
    state = f"running since {begun}" if replay["ended_at"] is None else f"{replay['state']} at {ended}"
    deliveries = format_count(replay["deliveries"], "delivery", "deliveries")
    amount = f"{replay['queued']:,} of {deliveries} put back into the queue"
    filters = "".join(f", {key} {replay[key]}" for key in ("source", "type") if replay[key])
    return [
        f"replay {replay['id']}, {state}: {amount}",
        f"  events detected from {replay['since']} to {replay['until']}{filters}",
        *(
            f"  {name}: {part['queued']:,} of {part['deliveries']:,}, {part['state']}{_wait_suffix(part)}"
            for name, part in replay["destinations"].items()
        ),
    ]


def _wait_suffix(part: Mapping[str, Any]) -> str:
    return f"; waits: {part['waits']}" if part["waits"] else ""
