"""The edits that people make in an account (enter, correct, move, delete, restore), and their notation."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from notifier.sandbox.account import Account
from notifier.sandbox.change_log import ChangeLog
from notifier.sandbox.fault_kinds import parse_selection
from notifier.sandbox.notation import NotationError, ParsedNotation, parse_number
from notifier.sandbox.records import Record, date_number, day_of

_DAY_MS = 86_400_000


class EditError(ValueError):
    """An edit cannot be made in the account; the message says why."""


class Edits(Struct, frozen=True):
    """Makes edits in an account. Every method returns the changed records, and may raise EditError."""

    account: Account
    change_log: ChangeLog

    def enter(self, count: int = 1, *, held_days_ago: int = 0, entered_days_ago: int = 0) -> list[Record]:
        """Enter completions of trainings that took place `held_days_ago` days ago, and return their records.

        The records' time of entry (`created`) is `entered_days_ago` days ago, as if a device had been offline since.
        """
        account = self.account
        if not account.users or not account.trainings:
            raise EditError("the account has no people or no trainings, so no completion can be added")
        now = account.now_ms()
        fields: dict[str, Any] = {"date_number": date_number(self._day(held_days_ago))}
        entered = []
        for number in range(count):
            id_ = account.next_id()
            user = account.users[id_ % len(account.users)]["id"]
            training = account.trainings[id_ % len(account.trainings)].ids
            created = now - entered_days_ago * _DAY_MS + number
            entered.append(Record(id=id_, user=user, training=training, created=created, **fields))
        account.add_many(entered)
        return entered

    def edit(self, ids: frozenset[int], **fields: Any) -> list[Record]:
        """Change fields of records."""
        return [self.account.edit(id_, **fields) for id_ in self._existing(ids)]

    def move(self, ids: frozenset[int], *, days_ago: int | None = None, person: str | None = None) -> list[Record]:
        """Give records another date, another person, or both."""
        fields: dict[str, Any] = {} if days_ago is None else {"date_number": date_number(self._day(days_ago))}
        if person is not None:
            fields["user"] = person
        return self.edit(ids, **fields)

    def delete(self, ids: frozenset[int]) -> list[Record]:
        """Delete records."""
        return [self.account.remove(id_) for id_ in self._existing(ids)]

    def restore(self, ids: frozenset[int] | None = None) -> list[Record]:
        """Enter deleted records again, with their ids. Without `ids`, restore the record that was deleted last."""
        deleted = self.change_log.deleted()
        wanted = [*deleted][-1:] if ids is None else sorted(ids)
        if not wanted or not deleted.keys() >= {*wanted}:
            raise EditError("no such record has been deleted since the server was started")
        records = [deleted[id_] for id_ in wanted]
        self.account.add_many(records)
        return records

    def twin(self, ids: frozenset[int]) -> list[Record]:
        """Enter copies of records. A copy differs only in its id, which version 1 of the API does not show."""
        copies = [replace(self.account.get(id_), id=self.account.next_id()) for id_ in self._existing(ids)]
        self.account.add_many(copies)
        return copies

    def _existing(self, ids: frozenset[int]) -> list[int]:
        known = {record.id for record in self.account.records()}
        if unknown := sorted(ids - known):
            raise EditError(f"there is no record {unknown[0]}")
        return sorted(ids)

    def _day(self, days_ago: int) -> date:
        return day_of(self.account.now_ms()) - timedelta(days=days_ago)


class EditKind(Struct, frozen=True):
    """A kind of edit: its name, the form of its value, its parameters, a short description, and how to make it."""

    name: str
    value: str
    parameters: tuple[str, ...]
    description: str
    make: Callable[[Edits, ParsedNotation], list[Record]]

    @property
    def notation(self) -> str:
        """The form in which users write the edit."""
        parameters = "".join(f",{name}=..." for name in self.parameters)
        return f"{self.name}:{self.value}{parameters}"


def _selected_ids(edits: Edits, written: ParsedNotation) -> frozenset[int]:
    if not written.value:
        raise NotationError(f"`{written.name}` needs the records: #1500, #1500+#1501, 20 or 50%")
    return parse_selection(written.value).ids_in([*edits.account.records()])


def _days(written: ParsedNotation, default: int) -> int:
    return parse_number(written.parameters["days"], least=0) if "days" in written.parameters else default


def _enter(edits: Edits, written: ParsedNotation) -> list[Record]:
    count = parse_number(written.value or "1")
    match written.name:
        case "backdate":
            return edits.enter(count, held_days_ago=_days(written, 30))
        case "offline":
            days = _days(written, 1)
            return edits.enter(count, held_days_ago=days, entered_days_ago=days)
        case _:
            return edits.enter(count)


def _move(edits: Edits, written: ParsedNotation) -> list[Record]:
    days = _days(written, 0) if "days" in written.parameters else None
    person = written.parameters.get("person")
    if days is None and person is None:
        raise NotationError("`move` needs days=, person= or both")
    return edits.move(_selected_ids(edits, written), days_ago=days, person=person)


def _restore(edits: Edits, written: ParsedNotation) -> list[Record]:
    return edits.restore(parse_selection(written.value).ids if written.value else None)


EDIT_KINDS: Mapping[str, EditKind] = {
    kind.name: kind
    for kind in (
        EditKind("enter", "N", (), "N completions of today", _enter),
        EditKind("backdate", "N", ("days",), "N completions of some days ago (30)", _enter),
        EditKind("offline", "N", ("days",), "N completions recorded some days ago (1), synchronised now", _enter),
        EditKind(
            "edit",
            "WHICH",
            ("notes",),
            "change the notes",
            lambda edits, it: edits.edit(_selected_ids(edits, it), notes=it.parameters.get("notes", "corrected")),
        ),
        EditKind(
            "move", "WHICH", ("days", "person"), "set another date, another person (24 hex digits), or both", _move
        ),
        EditKind("delete", "WHICH", (), "delete records", lambda edits, it: edits.delete(_selected_ids(edits, it))),
        EditKind("restore", "#ID", (), "enter a deleted record again; without an id the last one", _restore),
        EditKind(
            "twin",
            "WHICH",
            (),
            "add another record that differs only in its id",
            lambda edits, it: edits.twin(_selected_ids(edits, it)),
        ),
    )
}
"""Every kind of edit by its name."""
