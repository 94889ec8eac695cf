"""Reads names and chosen facts of people and trainings from answers of several megabytes, piece by piece.

Nothing else is kept, not even in memory.
"""

import re
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, TypeVar

import ijson
from msgspec import Struct, field

from notifier.facts import FactValue, PersonFacts, PersonField, TrainingFacts, day_of_ms
from notifier.http.exchange import Answer
from notifier.kpa.errors import ApiError, ApiErrorReason, quoted
from notifier.kpa.field_parsers import whole_number
from notifier.kpa.responses import get_list, read_object

BATCH = 1000
"""Number of names in a batch. A full batch is passed on at once, before the rest of the answer has arrived."""

_KEPT_ALWAYS = frozenset({"ok", "error", "description", "id"})
_PERSON_KEYS: Final = {
    PersonField.EMPLOYEE_NUMBER: "employeeNumber",
    PersonField.FIELD_OFFICE_IDS: "fieldOffice_id",
    PersonField.LINE_OF_BUSINESS_IDS: "lineOfBusiness_id",
    PersonField.JOB_TITLE_ID: "jobTitle_id",
    PersonField.JOB_TITLE: "jobTitle_id",
    PersonField.TERMINATED_ON: "terminationDate",
}
"""The API's name of each fact about a person. A job title is given by its id; another list has the titles."""

_TRAINING_KEYS: Final = {
    "schedule_type": ("schedule_type", "scheduleType"),
    "renewal_months": ("renewal_months", "renewalMonths"),
    "expiring_days": ("expiring_days", "expiringDays"),
}
"""The API's names of each fact about a training, in v2 and in v1."""

_MAX_IDS: Final = 200
_LONGEST_ID: Final = 200
_MAX_NUMBER: Final = 100_000
_MAX_LEVELS = 500
_BEGINNINGS = frozenset({"start_map", "start_array"})
_ENDS = frozenset({"end_map", "end_array"})

Name = TypeVar("Name")
Entry = dict[str, Any]


class Person(Struct, frozen=True):
    """A person's display name, and the facts that `person_fields` in the configuration chooses."""

    name: str
    facts: PersonFacts = field(default_factory=dict)

    @property
    def employee_number(self) -> str | None:
        """The employee number; None if there is none or if it was not chosen."""
        number = self.facts.get(PersonField.EMPLOYEE_NUMBER)
        return number if isinstance(number, str) else None


class ListedTraining(Struct, frozen=True):
    """A training's title and its facts."""

    title: str
    facts: TrainingFacts = field(default_factory=TrainingFacts)


class NamesReader(Generic[Name]):
    """Reads the names from one answer while it arrives.

    `names` holds, by id, the names that `take` has not returned yet. Call `feed` with each piece of the body in
    order, then call `finish`. Unless the answer is a success, `finish` raises ApiError.
    """

    def __init__(
        self, head: Answer, token: str, list_name: str, keys: Collection[str], name_of: Callable[[Entry], Name | None]
    ) -> None:
        """Initialise the reader of the list `list_name`; `head` is the answer without its body.

        Only the id and the fields in `keys` of each entry are read. `name_of` returns the name of an entry, or None if
        the entry has no name.
        """
        self.names: dict[str, Name] = {}
        self._head = head
        self._token = token
        self._list_name = list_name
        self._name_of = name_of
        self._size = 0
        self._surrogate_replacer = _SurrogateReplacer()
        self._event_filter = _EventFilter(list_name, _KEPT_ALWAYS.union(keys))
        self._parts = ijson.sendable_list()
        # Without use_float, ijson's C parser (3.6) crashes on whole numbers of 4,301 digits or more.
        self._parser = ijson.basic_parse_coro(self._parts, use_float=True)

    def feed(self, piece: bytes) -> None:
        """Parse the next piece of the body. Raises ApiError if it is not JSON."""
        self._size += len(piece)
        # The parser takes an empty piece for the end of the body.
        if mended := self._surrogate_replacer.replace_lone_surrogates(piece):
            self._parse(mended)

    def take(self) -> dict[str, Name]:
        """Return the names read since the previous call."""
        names, self.names = self.names, {}
        return names

    def finish(self) -> None:
        """Check the complete answer with the checks for an answer that was not read in pieces. Raises ApiError."""
        get_list(read_object(self._head, self._token, self._parse_end), self._list_name)

    def _parse_end(self, _body: bytes) -> object:
        self._parse(self._surrogate_replacer.replace_lone_surrogates(_PADDING))
        self._parse(b"")
        return self._event_filter.document

    def _parse(self, piece: bytes) -> None:
        try:
            with suppress(StopIteration):
                self._parser.send(piece)
            entries = self._event_filter.read_entries(self._parts)
        except (ijson.JSONError, ValueError):
            content_type = quoted(self._head.headers.get("Content-Type", "unknown type"), self._token)
            # The parser's own message quotes the text where it stopped. That may be personal data, which must not be
            # logged.
            raise ApiError(ApiErrorReason.NOT_JSON, f"after {self._size} bytes of {content_type}") from None
        self._parts.clear()
        for entry in entries:
            name = self._name_of(entry)
            if (entry_id := _as_line(entry.get("id"))) and name is not None:
                self.names[entry_id] = name


def people_reader(
    head: Answer, token: str, fields: Collection[PersonField] = (PersonField.EMPLOYEE_NUMBER,)
) -> NamesReader[Person]:
    """Return a reader for an answer of `users.list`; it gives people by user id and skips those without a name.

    Of each person it reads the name and these `fields`, and nothing else.
    """
    keys = ("firstname", "lastname", *(_PERSON_KEYS[wanted] for wanted in fields))
    return NamesReader(head, token, "users", keys, partial(_person, fields=frozenset(fields)))


def trainings_reader(head: Answer, token: str) -> NamesReader[ListedTraining]:
    """Return a reader for a list of trainings of either API version; it gives trainings by id."""
    keys = ("title", *(key for names in _TRAINING_KEYS.values() for key in names))
    return NamesReader(head, token, "trainings", keys, _training)


def job_titles_reader(head: Answer, token: str) -> NamesReader[str]:
    """Return a reader for an answer of `jobtitles.list`; it gives titles by the job title's id."""
    return NamesReader(head, token, "jobtitles", ("title",), lambda job: _as_line(job.get("title")) or None)


def _person(user: Entry, fields: Collection[PersonField]) -> Person | None:
    name = f"{_as_line(user.get('firstname'))} {_as_line(user.get('lastname'))}".strip()
    if not name:
        return None
    facts: dict[str, FactValue] = {}
    for wanted in fields:
        value = user.get(_PERSON_KEYS[wanted])
        match wanted:
            case PersonField.FIELD_OFFICE_IDS | PersonField.LINE_OF_BUSINESS_IDS:
                facts[wanted.value] = _ids(value)
            case PersonField.JOB_TITLE_ID | PersonField.JOB_TITLE:
                # The title is in another list. It is looked up when it is needed, because it may be renamed.
                facts[PersonField.JOB_TITLE_ID.value] = next(iter(_ids(value)), None)
            case PersonField.TERMINATED_ON:
                number = whole_number(value) if value else 0
                facts[wanted.value] = day_of_ms(number) if number else None
            case PersonField.EMPLOYEE_NUMBER:
                facts[wanted.value] = _as_line(value) or None
    return Person(name, facts)


def _training(training: Entry) -> ListedTraining | None:
    title = _as_line(training.get("title"))
    if not title:
        return None
    found = {
        name: next((training[key] for key in keys if training.get(key) is not None), None)
        for name, keys in _TRAINING_KEYS.items()
    }
    schedule_type = _as_line(found["schedule_type"])[:_LONGEST_ID] or None
    return ListedTraining(
        title, TrainingFacts(schedule_type, _number(found["renewal_months"]), _number(found["expiring_days"]))
    )


def _ids(value: object) -> list[str]:
    """Return one id or a list of ids as texts, each once; values that are not ids are left out."""
    given = value if isinstance(value, list) else [value]
    found = (_as_line(one) for one in given[:_MAX_IDS])
    return [*dict.fromkeys(id_ for id_ in found if id_ and len(id_) <= _LONGEST_ID and "\0" not in id_)]


def _number(value: object) -> int | None:
    number = None if value is None or value == "" else whole_number(value)
    return number if number is not None and 0 <= number <= _MAX_NUMBER else None


def _as_line(value: object) -> str:
    """Return text or a number as one line of text; empty for any other value."""
    if isinstance(value, str):
        return " ".join(value.split())
    return str(value) if type(value) is int else ""


class _Values(list[Any]):
    """The texts and numbers of a list within an entry."""


class _EventFilter:
    """Filters the parse events of a document: keeps values of the outer object and of the entries of one list.

    A value is kept if its key is in `kept`, and if it is a text, a number or a list of these.
    """

    def __init__(self, list_name: str, kept: Collection[str]) -> None:
        self.document: Entry | None = None
        self._list_name = list_name
        self._kept = kept
        self._entries: list[Entry] = []
        self._open: list[Entry | list[Entry] | None] = []
        self._key = ""

    def read_entries(self, parts: Iterable[tuple[str, Any]]) -> list[Entry]:
        """Return the entries that end in these parse events (pairs, as ijson yields them).

        Raises ValueError if the document is nested too deeply.
        """
        for kind, value in parts:
            if kind == "map_key":
                self._key = value
            elif kind in _BEGINNINGS:
                self._open.append(self._begin(kind))
            elif kind in _ENDS:
                self._end()
            elif self._open and (holder := self._open[-1]) is not None:
                if isinstance(holder, _Values):
                    if len(holder) < _MAX_IDS:
                        holder.append(value)
                elif isinstance(holder, dict) and self._key in self._kept:
                    holder[self._key] = value
        complete = self._entries.copy()
        self._entries.clear()
        return complete

    def _begin(self, kind: str) -> Entry | list[Entry] | None:
        """Return the container for an object or a list that begins; None if its content is skipped."""
        if len(self._open) >= _MAX_LEVELS:
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
        if isinstance(around, dict) and around is not self.document and self._key in self._kept:
            values = _Values()
            around[self._key] = values
            return values
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
"""Matches an escape in JSON. The groups tell apart an escape that may continue in the next piece (`unfinished`), a
lone half of a surrogate pair (`half`), and any other escape or a whole pair (no group).
"""

_PADDING = b" " * 11
"""Spaces to add to the body, so that an escape at its end is not unfinished. JSON allows spaces at the end."""


class _SurrogateReplacer:
    """Replaces each lone half of a surrogate pair with a question mark; a name cut within an emoji contains one.

    yajl, the C parser of ijson, reads a lone first half as another character, and fails at a lone second half.
    """

    def __init__(self) -> None:
        self._unfinished = b""

    def replace_lone_surrogates(self, piece: bytes) -> bytes:
        """Return a piece of JSON with lone surrogates replaced; keep an escape that is cut off for the next piece."""
        text, self._unfinished = self._unfinished + piece, b""
        return _ESCAPE.sub(self._replaced, text)

    def _replaced(self, escape: re.Match[bytes]) -> bytes:
        if escape["unfinished"] is not None:
            self._unfinished = escape[0]
            return b""
        return escape[0] if escape["half"] is None else b"?"
