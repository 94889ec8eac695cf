"""Reads pages fast if all their records have the form that the API normally sends.

To skim a page is to read only the keys and days of its records. For most records, that is enough: their JSON is
the same as before, so they have not changed. msgspec returns the JSON of single records without parsing it.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from itertools import repeat
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec
import orjson
from msgspec import Struct
from msgspec.structs import replace

from notifier.events import Completion, fingerprints
from notifier.kpa.field_parsers import EARLIEST_MS, LATEST_MS, UnreadableError, as_day
from notifier.kpa.versions import CREATED, RecordFormat, SkimmedRecords, as_json

_NOT_USUAL: Final = (msgspec.DecodeError, ValueError, RecursionError, UnreadableError)
"""The errors of reading a page of an unusual form. Before msgspec 0.21, DecodeError is not a ValueError."""


_KEY: Final = attrgetter("key")
_DAY: Final = attrgetter("day")

_iso_day: Final = lru_cache(maxsize=4096, typed=True)(as_day)
"""`as_day` with a cache, because the same days occur again and again."""


class UsualPage(Struct, frozen=True):
    """The records of an answer, parsed or only skimmed, and its page information as the API sent it."""

    size: int
    paging: Any
    completions: Sequence[Completion] = ()
    skimmed: SkimmedRecords | None = None


def skim(body: bytes, version: RecordFormat) -> UsualPage | None:
    """Return the keys, days and JSON of the records in an answer's body.

    In each of these cases, the body must be parsed instead, and None is returned:

    - The body is not a list of records, or cannot be stored as it is.
    - The records have no ids (v1), or two records have the same id.
    - A record cannot be read, or its id or day has an unusual type.
    """
    if version.record_id is None:
        return None
    if not _is_storable(body):
        return None
    names = (version.record_id, version.training_id, version.user_id, version.completed_on)
    decode_raws, decode_fields = _decoders(*names)
    try:
        page, whole = decode_fields(body), decode_raws(body)
        # Mapped without loops in Python, because every poll does this for a hundred records.
        days = [*map(_iso_day, map(_DAY, page.completedtrainings), repeat(version.completed_on))]
        keys = [*map(str, map(_KEY, page.completedtrainings))]
        raws = _in_stored_form([*map(bytes, whole.completedtrainings)])
    except _NOT_USUAL:
        return None
    if not whole.ok or len({*keys}) < len(keys):
        return None
    skimmed = SkimmedRecords(version, keys, days, lambda: raws)
    return UsualPage(len(keys), page.paging, skimmed=skimmed)


class NewestPage:
    """Skims the first page of a list at each poll, and does not read it again while the API returns the same bytes.

    Most polls find nothing new. The keys, days and fingerprints of the last page are kept, but not its JSON, which
    takes several times as much memory.
    """

    def __init__(self, version: RecordFormat) -> None:
        self._version = version
        self._body_hash: int | None = None
        self._size = 0
        self._paging: Any = None
        self._skimmed: SkimmedRecords | None = None

    def skim(self, body: bytes) -> UsualPage | None:
        """Call the function `skim`, and add the fingerprints of the records to its result."""
        # Python's hash of bytes has 64 bits, too, and takes a tenth of the time of a fingerprint.
        body_hash = hash(body)
        if self._skimmed is not None and body_hash == self._body_hash:
            skimmed = replace(self._skimmed, split=partial(_split, body, self._version))
            return UsualPage(self._size, self._paging, skimmed=skimmed)
        page = skim(body, self._version)
        if page is None or page.skimmed is None:
            return None
        skimmed = replace(page.skimmed, fingerprints=fingerprints(page.skimmed.raws))
        self._body_hash = body_hash
        self._size, self._paging, self._skimmed = page.size, page.paging, replace(skimmed, split=tuple)
        return replace(page, skimmed=skimmed)


def _split(body: bytes, version: RecordFormat) -> Sequence[bytes]:
    """Return the JSON of the records in a body that was skimmed before."""
    page = skim(body, version)
    return () if page is None or page.skimmed is None else page.skimmed.raws


def parse(body: bytes, version: RecordFormat) -> UsualPage | None:
    """Parse the body of an answer whose records are all of the usual form.

    For any other answer, None is returned. The caller must then use `RecordFormat.parse`, which says what is wrong with
    a record.
    """
    if version.record_id is None or version.notes is None or version.files is None:
        return None
    if not _is_storable(body):
        return None
    names = (version.record_id, version.training_id, version.user_id, version.completed_on)
    others = (version.expires_on, version.instructor_id, version.group_training_id, version.notes, version.files)
    decode_raws, decode_fields = _decoders(*names, *others)
    try:
        page, whole = decode_fields(body), decode_raws(body)
        raws = _in_stored_form([*map(bytes, whole.completedtrainings)])
        days = {day: as_day(day, version.completed_on) for day in {it.day for it in page.completedtrainings}}
        ends = {end: as_day(end, version.expires_on) for end in {it.expires_on for it in page.completedtrainings}}
        completions = [
            Completion(
                str(it.key),
                str(it.training_id),
                str(it.user_id),
                days[it.day],
                ends[it.expires_on],
                it.recorded_at,
                str(it.instructor_id) if it.instructor_id else _id_of_falsy(it.instructor_id),
                str(it.group_training_id) if it.group_training_id else _id_of_falsy(it.group_training_id),
                it.notes or "",
                bool(it.files),
                # Escaped characters may be spelt in several ways.
                raw if b"\\" not in raw else as_json(orjson.loads(raw)),
            )
            for it, raw in zip(page.completedtrainings, raws, strict=True)
        ]
    except _NOT_USUAL:
        return None
    if not whole.ok or len({it.key for it in completions}) < len(completions):
        return None
    return UsualPage(len(completions), page.paging, completions)


def _id_of_falsy(empty: str | int | None) -> str | None:
    """Return the id for an empty value: "0" for the number 0, None for null and for an empty text."""
    return "0" if empty == 0 else None


def _is_storable(body: bytes) -> bool:
    """Return whether a body is UTF-8 without an escaped U+0000, so that it can be stored as it is.

    msgspec does not check the texts that it skips, and SQLite's JSON functions end a text at U+0000.
    """
    try:
        is_utf8 = body.isascii() or bool(body.decode())
    except UnicodeDecodeError:
        return False
    # A search for one byte is ten times as fast, and most bodies have no backslash.
    return is_utf8 and (b"\\" not in body or rb"\u0000" not in body)


@cache
def _decoders(
    record_id: str, training_id: str, user_id: str, completed_on: str, *others: str
) -> tuple[Callable[[bytes], Any], Callable[[bytes], Any]]:
    """Return two functions that read the body of a page.

    The first function returns the JSON of each record. The second function returns the values of the fields that the
    parameters name. `others` name the fields for expiry, instructor, group training, notes and files. If `others` is
    empty, these fields are not read. A value of an unusual form raises an error, even if a parser in `field_parsers`
    would accept the value.
    """
    # orjson reads larger whole numbers as floats, or not at all.
    number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    usual_id = number | Annotated[str, msgspec.Meta(min_length=1)]
    moment = Annotated[int, msgspec.Meta(ge=EARLIEST_MS, le=LATEST_MS)]
    names = {"key": record_id, "training_id": training_id, "user_id": user_id, "day": completed_on}
    fields: list[Any] = [("key", usual_id), ("training_id", usual_id), ("user_id", usual_id)]
    fields += [("day", int | str | None, None)]
    if others:
        rest = ("expires_on", "instructor_id", "group_training_id", "notes", "files")
        names |= {**dict(zip(rest, others, strict=True)), "recorded_at": CREATED}
        fields += [("expires_on", int | str | None, None), ("recorded_at", moment | None, None)]
        fields += [("instructor_id", number | str | None, None), ("group_training_id", number | str | None, None)]
        fields += [("notes", str | None, None), ("files", list[msgspec.Raw] | None, None)]
    record = msgspec.defstruct("Record", fields, rename=names, gc=False)
    raws = msgspec.defstruct("Raws", [("ok", bool), ("completedtrainings", list[msgspec.Raw])])
    page = msgspec.defstruct("Fields", [("completedtrainings", list[record]), ("paging", Any, None)])  # type: ignore[valid-type]
    return msgspec.json.Decoder(raws).decode, msgspec.json.Decoder(page).decode


def _in_stored_form(raws: list[bytes]) -> list[bytes]:
    """Return the JSON of records in the form that is stored.

    Only the first record is checked. If it is in another form, all records are converted. If only a later record is in
    another form, its JSON looks changed, so that record is parsed and compared.
    """
    if not raws or as_json(orjson.loads(raws[0])) == raws[0]:
        return raws
    return [as_json(orjson.loads(raw)) for raw in raws]
