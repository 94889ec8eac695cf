"""Names of people and trainings: read piece by piece from answers of megabytes, of which nothing else is kept."""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import ijson

from notifier.kpa.answers import list_in, read_object
from notifier.kpa.failures import ApiFailure, Reason, quoted
from notifier.transport import Answer

BATCH = 1000
"""So many names are worth being handed on while more are coming."""

_KEPT = frozenset({"ok", "error", "description", "id", "title", "firstname", "lastname", "employeeNumber"})
_DEEPEST = 500
_BEGINNINGS = frozenset({"start_map", "start_array"})
_ENDS = frozenset({"end_map", "end_array"})

Name = TypeVar("Name")
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of a person: the name as people write it, and the employee number, None when there is none."""

    name: str
    employee_number: str | None


class NamesReader(Generic[Name]):
    """Reads the names out of one answer while it arrives; `names` are those not taken yet, by id.

    `feed` it the body's pieces in order, then `finish`. Until then, nobody knows whether the API meant the answer.
    """

    def __init__(self, head: Answer, token: str, list_name: str, name_of: Callable[[Entry], Name | None]) -> None:
        """Take the answer without its body, and what makes a name of an entry of its list, or None of a nameless."""
        self.names: dict[str, Name] = {}
        self._head = head
        self._token = token
        self._list_name = list_name
        self._name_of = name_of
        self._size = 0
        self._mender = _Mender()
        self._sieve = _Sieve(list_name)
        self._parts = ijson.sendable_list()
        # Whole numbers of any length, which are read otherwise, crash ijson's C parser (3.6) from 4,301 digits on.
        self._parser = ijson.basic_parse_coro(self._parts, use_float=True)

    def feed(self, piece: bytes) -> None:
        """Read on. Raises ApiFailure where this is no JSON."""
        self._size += len(piece)
        # To the parser, nothing is the end.
        if mended := self._mender.mend(piece):
            self._parse(mended)

    def take(self) -> dict[str, Name]:
        """Hand over the names read so far."""
        names, self.names = self.names, {}
        return names

    def finish(self) -> None:
        """Judge the answer as one is judged whose body is there at once. Raises ApiFailure."""
        list_in(read_object(self._head, self._token, self._parse_end), self._list_name)

    def _parse_end(self, _body: bytes) -> object:
        self._parse(self._mender.mend(_BLANK))
        self._parse(b"")
        return self._sieve.document

    def _parse(self, piece: bytes) -> None:
        try:
            with suppress(StopIteration):
                self._parser.send(piece)
            entries = self._sieve.sift(self._parts)
        except (ijson.JSONError, ValueError):
            content_type = quoted(self._head.headers.get("Content-Type", "unknown type"), self._token)
            # The parser's own words show where it stopped: among people's data, which no log may hold.
            raise ApiFailure(Reason.NOT_JSON, f"after {self._size} bytes of {content_type}") from None
        self._parts.clear()
        for entry in entries:
            name = self._name_of(entry)
            if (entry_id := _words(entry.get("id"))) and name is not None:
                self.names[entry_id] = name


def people_reader(head: Answer, token: str) -> NamesReader[Person]:
    """Read an answer of `users.list`: people by user id, without those who have no name."""
    return NamesReader(head, token, "users", _person)


def trainings_reader(head: Answer, token: str) -> NamesReader[str]:
    """Read an answer of either version's list of trainings: titles by training id."""
    return NamesReader(head, token, "trainings", lambda training: _words(training.get("title")) or None)


def _person(user: Entry) -> Person | None:
    name = f"{_words(user.get('firstname'))} {_words(user.get('lastname'))}".strip()
    return Person(name, _words(user.get("employeeNumber")) or None) if name else None


def _words(value: object) -> str:
    """Return text, or a number, on one line; empty for everything else."""
    if isinstance(value, str):
        return " ".join(value.split())
    return str(value) if type(value) is int else ""


class _Sieve:
    """Lets a document's parts pass, and keeps few: texts and numbers of the outer object and of one list's entries."""

    def __init__(self, list_name: str) -> None:
        self.document: Entry | None = None
        self._list_name = list_name
        self._entries: list[Entry] = []
        self._open: list[Entry | list[Entry] | None] = []
        self._key = ""

    def sift(self, parts: Iterable[tuple[str, Any]]) -> list[Entry]:
        """Return the entries that these parts, as ijson names them, complete.

        Raises ValueError where they are nested too deeply.
        """
        for kind, value in parts:
            if kind == "map_key":
                self._key = value
            elif kind in _BEGINNINGS:
                self._open.append(self._begin(kind))
            elif kind in _ENDS:
                self._end()
            elif self._key in _KEPT and self._open and isinstance(holder := self._open[-1], dict):
                holder[self._key] = value
        complete = self._entries.copy()
        self._entries.clear()
        return complete

    def _begin(self, kind: str) -> Entry | list[Entry] | None:
        """Return what is to be kept of an object or a list that begins; None for nothing."""
        if len(self._open) >= _DEEPEST:
            raise ValueError("nested too deeply")
        if not self._open:
            self.document = {} if kind == "start_map" else None
            return self.document
        around = self._open[-1]
        if kind == "start_map":
            return {} if around is self._entries else None
        if around is not None and around is self.document and self._key == self._list_name:
            self.document[self._list_name] = self._entries
            return self._entries
        return None

    def _end(self) -> None:
        ended = self._open.pop()
        if isinstance(ended, dict) and self._open:
            self._entries.append(ended)


_ESCAPE: Final = re.compile(
    rb"\\(?:"
    rb"(?P<unfinished>.{0,10}\Z)"
    rb"|u[dD][89abAB]..\\u[dD][c-fC-F].."
    rb"|(?P<half>u[dD][89a-fA-F]..)"
    rb"|.)",
    re.DOTALL,
)
"""An escape in JSON: one that may go on in the next piece, a surrogate pair, half of one, or any other."""

_BLANK = b" " * 11
"""What may follow any document, and is long enough to finish every escape before it."""


class _Mender:
    """Puts a question mark in the place of half a surrogate pair, as when a name was cut within an emoji.

    yajl, ijson's C parser, cannot: it makes another character of the first half, and gives up at the second.
    """

    def __init__(self) -> None:
        self._unfinished = b""

    def mend(self, piece: bytes) -> bytes:
        """Return the next piece mended; an escape at its very end waits for the piece that follows."""
        text, self._unfinished = self._unfinished + piece, b""
        return _ESCAPE.sub(self._mended, text)

    def _mended(self, escape: re.Match[bytes]) -> bytes:
        if escape["unfinished"] is not None:
            self._unfinished = escape[0]
            return b""
        return escape[0] if escape["half"] is None else b"?"
