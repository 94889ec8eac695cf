"""Reads and writes the essentials file beside the state file (`snapshot.py` describes its content).

The file is written when the state file is closed, and about every 30 seconds if the essentials have changed. For a new
undelivered `updated` or `removed` event, it is written within a second: the API could not show such a change again. A
rename puts the complete file in place. The previous file is kept, in case the disk cannot read the current one.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import orjson
from msgspec import Struct

from notifier.store.file.files import (
    ESSENTIALS,
    ESSENTIALS_NEW,
    ESSENTIALS_PREVIOUS,
    ESSENTIALS_UNREADABLE,
    give_to_state_file_owner,
    open_private,
    replace_durably,
    sibling_path,
    sync_folder,
)
from notifier.store.recovery.snapshot import AnnouncedEvent, KnownSource, OwedEvent, Snapshot, UndeliveredEvent

_FORMAT: Final = 2
_FIRST_FORMAT: Final = 1
"""The format of versions without stamps; it is still read, but no longer written."""

_CHECKSUM: Final = b',"checksum":'

_FIRST_EVENT_COLUMNS: Final = (
    "sequence",
    "id",
    "type",
    "source",
    "subject",
    "revision",
    "net",
    "reason",
    "detected_at",
    "data",
)


class EssentialsState(StrEnum):
    """What a reader of the essentials found: none, readable ones, unreadable ones, or ones of a newer version."""

    NONE = "none"
    READ = "read"
    UNREADABLE = "unreadable"
    NEWER = "newer"


class EssentialsReading(Struct, frozen=True):
    """The result of reading the essentials.

    If `state` is UNREADABLE, `snapshot` was read from the previous file; it is None if that cannot be read either.
    """

    state: EssentialsState
    snapshot: Snapshot | None = None
    detail: str = ""


def write(state_file: Path, snapshot: Snapshot) -> None:
    """Write the essentials, completely or not at all, and keep the existing file as the previous one.

    Blocks. Raises OSError.
    """
    path, fresh = sibling_path(state_file, ESSENTIALS), sibling_path(state_file, ESSENTIALS_NEW)
    _write_private(fresh, _with_checksum(_to_json(snapshot)))
    give_to_state_file_owner(state_file, fresh)
    _keep_as_previous(path, sibling_path(state_file, ESSENTIALS_PREVIOUS))
    replace_durably(fresh, path)


def read(state_file: Path) -> EssentialsReading:
    """Read the essentials beside a state file, or the previous file if the current one is unreadable. Blocks."""
    path, previous = sibling_path(state_file, ESSENTIALS), sibling_path(state_file, ESSENTIALS_PREVIOUS)
    reading = _read(path, second_name=previous)
    if reading.state is not EssentialsState.UNREADABLE:
        return reading
    before = _read(previous, second_name=path)
    return EssentialsReading(EssentialsState.UNREADABLE, before.snapshot, reading.detail)


def set_unreadable_aside(state_file: Path) -> None:
    """Rename the unreadable essentials file, to make room for a new one. Raises OSError."""
    path, aside = sibling_path(state_file, ESSENTIALS), sibling_path(state_file, ESSENTIALS_UNREADABLE)
    if aside.is_dir():
        return
    path.replace(aside)
    sync_folder(path.parent)


def _read(path: Path, second_name: Path) -> EssentialsReading:
    try:
        # A process that was killed in `write` may have left one file under both names.
        with os.fdopen(open_private(path, os.O_RDONLY, second_name=second_name), "rb") as file:
            written = file.read()
        content = orjson.loads(written)
        # Earlier versions wrote no checksum.
        if "checksum" in content and written != _with_checksum(written[: written.rindex(_CHECKSUM)] + b"}"):
            return EssentialsReading(EssentialsState.UNREADABLE, detail="its content is damaged (checksum)")
        written_by = content["format"]
        if written_by == _FIRST_FORMAT:
            return EssentialsReading(EssentialsState.READ, _from_first_format(content))
        if written_by == _FORMAT:
            return EssentialsReading(EssentialsState.READ, _from_json(content))
        if isinstance(written_by, int) and written_by > _FORMAT:
            return EssentialsReading(EssentialsState.NEWER, detail=f"format {written_by}")
    except FileNotFoundError:
        return EssentialsReading(EssentialsState.NONE)
    except OSError as error:
        return EssentialsReading(EssentialsState.UNREADABLE, detail=error.strerror or str(error))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return EssentialsReading(EssentialsState.UNREADABLE, detail=f"its content is damaged ({type(error).__name__})")
    return EssentialsReading(EssentialsState.UNREADABLE, detail="its content is damaged")


def _with_checksum(content: bytes) -> bytes:
    """Return the text of a JSON object with one more member at the end: the checksum of `content`."""
    return content[:-1] + _CHECKSUM + f'"{blake2b(content, digest_size=16).hexdigest()}"}}'.encode()


def _to_json(it: Snapshot) -> bytes:
    event_columns = tuple(it.undelivered[0].event) if it.undelivered else ()
    delivery_columns = tuple(it.undelivered[0].deliveries[0]) if it.undelivered else ()
    return orjson.dumps(
        {
            "format": _FORMAT,
            "written_at": it.written_ms,
            "stamp": it.stamp,
            "sequence": it.sequence,
            "sources": {name: [source.row, source.read_ms] for name, source in it.sources.items()},
            "disabled": it.disabled,
            "event_columns": event_columns,
            "delivery_columns": delivery_columns,
            "undelivered": [
                [tuple(one.event.values()), [tuple(delivery.values()) for delivery in one.deliveries]]
                for one in it.undelivered
            ],
            "owed": [tuple(one) for one in it.owed],
            "left_out": it.left_out,
            "told": [tuple(one) for one in it.announced],
            "told_since": it.announced_since_ms,
        }
    )


def _from_json(content: Mapping[str, Any]) -> Snapshot:
    event_columns, delivery_columns = content["event_columns"], content["delivery_columns"]
    return Snapshot(
        content["written_at"],
        content["sequence"],
        content["stamp"],
        {name: KnownSource(row, read_ms) for name, (row, read_ms) in content["sources"].items()},
        {name: (reason, since) for name, (reason, since) in content["disabled"].items()},
        tuple(
            _undelivered_event(event_columns, event, delivery_columns, rows) for event, rows in content["undelivered"]
        ),
        tuple(OwedEvent(id_, source, key, revision, tuple(to)) for id_, source, key, revision, to in content["owed"]),
        content["left_out"],
        tuple(AnnouncedEvent(*row) for row in content["told"]),
        content["told_since"],
    )


def _from_first_format(content: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        content["written_at"],
        content["sequence"],
        "",
        {
            name: KnownSource({"name": name, "met_at": met, "last_success": success}, read_ms)
            for name, (met, read_ms, success) in content["sources"].items()
        },
        {name: (reason, since) for name, (reason, since) in content["disabled"].items()},
        tuple(
            _undelivered_event(_FIRST_EVENT_COLUMNS, event, ("destination", "state"), rows, sequence=event[0])
            for event, rows in content["undelivered"]
        ),
        announced=tuple(AnnouncedEvent(id_) for id_ in content["told"]),
        announced_since_ms=content["told_since"],
    )


def _undelivered_event(
    event_columns: Sequence[str],
    event: Sequence[Any],
    delivery_columns: Sequence[str],
    deliveries: Sequence[Sequence[Any]],
    **more: Any,
) -> UndeliveredEvent:
    return UndeliveredEvent(
        dict(zip(event_columns, event, strict=True)),
        tuple({**more, **dict(zip(delivery_columns, row, strict=True))} for row in deliveries),
    )


def _write_private(path: Path, content: bytes) -> None:
    # The name is removed first, so that a link of this name is not followed.
    path.unlink(missing_ok=True)
    with os.fdopen(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        file.write(content)


def _keep_as_previous(path: Path, before: Path) -> None:
    """Keep the current essentials file `path` as the previous file `before`; `path` itself stays in place.

    The current file is readable: an unreadable one was renamed when the store was opened.
    """
    with contextlib.suppress(OSError):
        before.unlink(missing_ok=True)
        try:
            os.link(path, before)
        except OSError:
            # The file system has no hard links.
            _write_private(before, path.read_bytes())
