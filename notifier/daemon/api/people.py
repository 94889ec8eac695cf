"""Erases a person's data from the store, for the daemon and for commands without a daemon."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from notifier.store.queries.record_history import can_be_stored
from notifier.store.store import Store
from notifier.store.tables import erasure
from notifier.store.tables.erasure import KnownPerson
from notifier.web.daemon_api import UnknownPersonError

if TYPE_CHECKING:
    from notifier.web.response_models.records import PersonForgottenDocument

_log = logging.getLogger(__name__)

NOT_ERASED = (
    "backups, and files set aside beside the state file",
    "what destinations have received",
    "the log, and alerts that quote what a destination answered",
    "the account itself: its records are read again",
)
"""Places from which this program does not erase a person's data."""

_IN_THE_LOG: Final = (
    "the write-ahead log of the state file (-wal), because another program is reading that file: end it; the daemon"
    " empties the log every hour"
)
IN_THE_ESSENTIALS: Final = (
    "the essentials beside the state file (.essentials), because they cannot be written: free some space, or make the"
    " folder writable"
)


async def erase(store: Store, text: str, now_ms: int, *, dry_run: bool, by: str) -> "PersonForgottenDocument":
    """Erase the data of the person that `text` identifies; with `dry_run`, only find the person at each source.

    `text` is an id, an employee number or an exact name. `by` is the requester, whom the log names. Returns the person
    at each source, and the numbers of erased items, as a JSON object. After an erasure, the caller must rewrite the
    essentials. Raises UnknownPersonError, StoreError.
    """
    text = text.strip()
    people = await store.run(erasure.find_people, text) if can_be_stored(text) else []
    _require_one_person(text, people)
    total = erasure.Erased()
    for person in () if dry_run else people:
        total = _total(total, await _erase_person(store, person, now_ms))
    unreached = [*NOT_ERASED]
    if not dry_run:
        if not await store.empty_write_ahead_log():
            unreached.insert(0, _IN_THE_LOG)
        _log.warning("a person's data was erased", extra={"events": total.events, "records": total.records, "by": by})
    return {
        "people": [{"source": person.source, "id": person.id, "name": person.name} for person in people],
        "dry_run": dry_run,
        "events": total.events,
        "deliveries": total.deliveries,
        "records": total.records,
        "names": total.names,
        "living": total.living,
        "unreached": unreached,
    }


async def _erase_person(store: Store, person: KnownPerson, now_ms: int) -> erasure.Erased:
    events = deliveries = 0
    behind: int | None = 0
    while behind is not None:
        done = await store.run(erasure.erase_events, person, behind)
        events, deliveries, behind = events + done.events, deliveries + done.deliveries, done.behind
    rest = await store.run(erasure.erase_records, person, now_ms)
    return erasure.Erased(events, deliveries, rest.records, rest.names, rest.living)


def _total(one: erasure.Erased, other: erasure.Erased) -> erasure.Erased:
    return erasure.Erased(
        one.events + other.events,
        one.deliveries + other.deliveries,
        one.records + other.records,
        one.names + other.names,
        one.living + other.living,
    )


def _require_one_person(text: str, people: Sequence[KnownPerson]) -> None:
    if not people:
        raise UnknownPersonError("no person has this id, employee number or exact name: nothing was erased")
    ids = sorted({person.id for person in people})
    if len(ids) > 1 and text not in ids:
        raise UnknownPersonError(
            f"{len(ids)} people have this name: give the id of one of them ({', '.join(ids[:10])}); nothing was erased"
        )
