"""Describes replays in lines of text, from the object of `GET /v1/replay`."""

from collections.abc import Mapping
from typing import Any

from notifier.cli.formatting import counted, milliseconds, moment


def history_lines(told: Mapping[str, Any]) -> list[str]:
    """Return lines about the latest replay, the one before it, and older ones that are under way."""
    if told["state"] is None:
        return ["no replay is stored"]
    return [line for replay in (told, told["previous"], *told["others"]) if replay for line in _lines(replay)]


def left_lines(replay: Mapping[str, Any]) -> list[str]:
    """Return lines about deliveries that a replay has not queued, and a way to continue; no lines if all are queued."""
    lines = [
        f"  {name}: {part['queued']:,} of {counted(part['deliveries'], 'delivery', 'deliveries')}, {part['state']}"
        f"{_waits(part)}"
        for name, part in replay["destinations"].items()
        if part["queued"] < part["deliveries"]
    ]
    if lines and replay["state"] == "running":
        lines.append("  it continues by itself: `notifier replay --status` shows its progress")
    elif lines and replay["goes_on_since"] is not None:
        lines.append(f"  a new one with `--since {replay['goes_on_since']}` continues it")
    return lines


def _lines(replay: Mapping[str, Any]) -> list[str]:
    begun, ended = (moment(milliseconds(replay[key])) for key in ("begun_at", "ended_at"))
    how = f"running since {begun}" if replay["ended_at"] is None else f"{replay['state']} at {ended}"
    much = f"{replay['queued']:,} of {counted(replay['deliveries'], 'delivery', 'deliveries')} put back into the queue"
    meant = "".join(f", {key} {replay[key]}" for key in ("source", "type") if replay[key])
    return [
        f"replay {replay['id']}, {how}: {much}",
        f"  events detected from {replay['since']} to {replay['until']}{meant}",
        *(
            f"  {name}: {part['queued']:,} of {part['deliveries']:,}, {part['state']}{_waits(part)}"
            for name, part in replay["destinations"].items()
        ),
    ]


def _waits(part: Mapping[str, Any]) -> str:
    return f"; waits: {part['waits']}" if part["waits"] else ""
