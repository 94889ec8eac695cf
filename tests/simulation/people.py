"""The actions of people in the account. Each action has a time, and can be stored in a plan and repeated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from notifier.sandbox.records import Record, date_number, day_of
from tests.simulation.account import FIRST_DUPLICATE_ID, Account, training, user_id
from tests.simulation.loop import true_ms

_DAY_SECONDS: Final = 86_400.0


class Action(Struct, frozen=True):
    """One action of a person, `at` seconds after the start.

    `record` is the id of the record that is changed or entered. If it is None, `where` (0 to 1) chooses a record by its
    place in the list. `what` (0 to 1) chooses everything else.
    """

    at: float
    kind: str
    where: float = 0.0
    what: float = 0.0
    record: int | None = None


@dataclass(frozen=True, slots=True)
class Population:
    """The number of people and trainings, and the number of days over which the records are spread."""

    people: int
    trainings: int
    days: int

    def person(self, what: float) -> str:
        """Return the id of a person, chosen by `what` (0 to 1)."""
        return user_id(int(what * 1e6) % self.people)

    def day(self, now: float, what: float) -> int:
        """Return a past day as the API writes it, chosen by `what` (0 to 1)."""
        return day_number(now - what * self.days * _DAY_SECONDS)


def day_number(seconds: float) -> int:
    """Return the day at a time in seconds since the start, as the API writes it."""
    return date_number(day_of(true_ms(seconds)))


def perform(account: Account, population: Population, action: Action) -> Action | None:
    """Perform an action, and return it with the id of its record; None if there is no record for it."""
    if action.kind in _ENTRIES:
        number = account.next_id if action.record is None else action.record
        if number in account.histories:
            return None
        account.enter_or_change(_ENTRIES[action.kind](number, account.now(), population, action.what), action.kind)
        return replace(action, record=number)
    if action.kind == "restore":
        return _restore(account, action)
    record = _chosen(account, action)
    if record is None:
        return None
    if action.kind == "delete":
        account.delete(record.id)
    elif action.kind == "twin":
        account.enter_or_change(replace(record, id=_free_duplicate_id(account, record.id)), action.kind)
    else:
        account.enter_or_change(_CHANGES[action.kind](account, record, population, action), action.kind)
    return replace(action, record=record.id)


def _chosen(account: Account, action: Action) -> Record | None:
    if action.record is not None:
        return account.records.get(action.record)
    records = account.list_now
    return records[int(action.where * len(records))] if records else None


def _free_duplicate_id(account: Account, number: int) -> int:
    """Return an unused id for a duplicate. It does not depend on other entries, which a replay may leave out."""
    while number in account.histories:
        number += FIRST_DUPLICATE_ID
    return number


def _restore(account: Account, action: Action) -> Action | None:
    number = action.record
    if number is None and account.deleted:
        number = sorted(account.deleted)[int(action.what * len(account.deleted))]
    if number is None or number not in account.deleted:
        return None
    account.enter_or_change(account.deleted[number], action.kind)
    return replace(action, record=number)


def _entry(number: int, population: Population, what: float, *, created: float, day: int) -> Record:
    chosen = int(what * 1e6)
    return Record(
        id=number,
        user=user_id(chosen % population.people),
        training=training(chosen // 7 % population.trainings),
        created=true_ms(created),
        date_number=day,
        files=({"id": number},) if number % 2 else (),
    )


def _enter(number: int, now: float, population: Population, what: float) -> Record:
    return _entry(number, population, what, created=now, day=day_number(now))


def _backdate(number: int, now: float, population: Population, what: float) -> Record:
    return _entry(number, population, what, created=now, day=population.day(now, what))


def _offline(number: int, now: float, population: Population, what: float) -> Record:
    """Return a record that a device without a connection stored up to two days ago."""
    created = now - 60 - what * 2 * _DAY_SECONDS
    return _entry(number, population, what, created=created, day=day_number(created))


def _slow_clock(number: int, now: float, population: Population, what: float) -> Record:
    """Return a record entered on a machine whose clock is up to three minutes slow."""
    return _entry(number, population, what, created=now - what * 180, day=day_number(now))


def _edit(_account: Account, record: Record, _population: Population, action: Action) -> Record:
    return replace(record, notes=f"note {int(action.what * 1e9)}")


def _edit_back(account: Account, record: Record, population: Population, action: Action) -> Record:
    """Return a record with the notes that it had at first."""
    first = account.histories[record.id][0].state
    if first is None or first.notes == record.notes:
        return _edit(account, record, population, action)
    return replace(record, notes=first.notes or "")


def _move_date(account: Account, record: Record, population: Population, action: Action) -> Record:
    return replace(record, date_number=population.day(account.now(), action.what))


def _move_person(_account: Account, record: Record, population: Population, action: Action) -> Record:
    return replace(record, user=population.person(action.what))


def _move_both(account: Account, record: Record, population: Population, action: Action) -> Record:
    return _move_date(account, _move_person(account, record, population, action), population, action)


_ENTRIES: Final[Mapping[str, Callable[[int, float, Population, float], Record]]] = {
    "enter": _enter,
    "backdate": _backdate,
    "offline": _offline,
    "slow_clock": _slow_clock,
}
_CHANGES: Final[Mapping[str, Callable[[Account, Record, Population, Action], Record]]] = {
    "edit": _edit,
    "edit_back": _edit_back,
    "move_date": _move_date,
    "move_person": _move_person,
    "move_both": _move_both,
}
