"""Words about replays, as `GET /v1/replay` tells of them."""

from typing import Any

from notifier.cli.text import counted, milliseconds, moment


def history_lines(told: dict[str, Any]) -> list[str]:
    """Say how far the latest replay has come, and what came of the one before it."""
    if told["state"] is None:
        return ["no replay is remembered"]
    return [line for replay in (told, told["previous"]) if replay for line in _lines(replay)]


def left_lines(replay: dict[str, Any]) -> list[str]:
    """Say what of a replay was not put back into the queue, and how to go on; nothing when all was."""
    lines = [
        f"  {name}: {part['queued']:,} of {counted(part['deliveries'], 'delivery', 'deliveries')}, {part['state']}"
        for name, part in replay["destinations"].items()
        if part["queued"] < part["deliveries"]
    ]
    if lines and replay["goes_on_since"] is not None:
        lines.append(f"  another one goes on with `--since {replay['goes_on_since']}`")
    return lines


def _lines(replay: dict[str, Any]) -> list[str]:
    begun, ended = (moment(milliseconds(replay[key])) for key in ("begun_at", "ended_at"))
    how = f"under way since {begun}" if replay["ended_at"] is None else f"{replay['state']} at {ended}"
    much = f"{replay['queued']:,} of {counted(replay['deliveries'], 'delivery', 'deliveries')} put back into the queue"
    meant = "".join(f", {key} {replay[key]}" for key in ("source", "type") if replay[key])
    return [
        f"replay {replay['id']}, {how}: {much}",
        f"  events detected from {replay['since']} to {replay['until']}{meant}",
        *(
            f"  {name}: {part['queued']:,} of {part['deliveries']:,}, {part['state']}"
            for name, part in replay["destinations"].items()
        ),
    ]
