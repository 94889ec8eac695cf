"""Records without an id that are equal in all that makes their key, told apart by the rest of what they hold.

The API's v1 gives no id; the key is derived from person, training and moment of entry, and an import may enter several
records with the same three. Within one answer they are numbered in order. Across answers they are recognised by their
JSON; where that is not enough, one precise question (all records of that person and training) settles who is who.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from notifier.completions import Completion
from notifier.kpa.client import Page
from notifier.ledger import records
from notifier.ledger.ledger import Ledger
from notifier.ledger.records import Known, fingerprint

Recount = Callable[[str, str], Awaitable[Page]]
"""Asks the API for all records of a person (user id) and a training (training id)."""

_KEY_LENGTH = len("v1-") + 16


def base_of(key: str) -> str:
    """Return what equal records' keys have in common."""
    return key[:_KEY_LENGTH]


@dataclass(frozen=True, slots=True)
class Matched:
    """Records under the keys they are known by, or get; `unclear` may be known ones, changed, or additional ones."""

    settled: tuple[Completion, ...]
    unclear: tuple[Completion, ...]


def match(equals: Sequence[Completion], known: Mapping[str, Known], *, complete: bool) -> Matched:
    """Give equal records (of one base, in order) their keys.

    `known` are the records of that base in the ledger. `complete` says that `equals` are all that the API has: then
    what is unlike every known one is a known one that changed, as long as there are such, and a new one after that.
    """
    free = dict(sorted(known.items(), key=lambda item: (item[1].removed, _number(item[0]))))
    settled: list[Completion] = []
    unlike: list[Completion] = []
    for record in equals:
        mark = fingerprint(record.raw)
        key = next((key for key, memory in free.items() if memory.fingerprint == mark), None)
        if key is None:
            unlike.append(record)
        else:
            del free[key]
            settled.append(replace(record, key=key))
    present = [key for key, memory in free.items() if not memory.removed]
    if present and unlike and not complete:
        return Matched(tuple(settled), tuple(unlike))
    number = max(map(_number, known), default=0)
    for record in unlike:
        if present:
            settled.append(replace(record, key=present.pop(0)))
        else:
            number += 1
            settled.append(replace(record, key=_key(base_of(record.key), number)))
    return Matched(tuple(settled), ())


class EqualRecords:
    """Settles the keys of one source's records, for the API version that has no ids."""

    def __init__(self, source: str, ledger: Ledger, recount: Recount) -> None:
        """Look known records up in `ledger`, and ask `recount` where they do not tell."""
        self._source = source
        self._ledger = ledger
        self._recount = recount

    async def settle(self, completions: Sequence[Completion], *, complete: bool = False) -> tuple[Completion, ...]:
        """Return the records of a page under their keys. Raises LedgerError and what `recount` raises.

        `complete` says that the page holds all equal ones of each of its records.
        """
        groups = _by_base(completions)
        known = _known_by_base(await self._ledger.run(records.known_equals, self._source, tuple(groups)))
        settled: list[Completion] = []
        for base, equals in groups.items():
            matched = match(equals, known[base], complete=complete)
            settled += matched.settled
            if matched.unclear:
                settled += await self._ask(matched.unclear, known[base])
        return tuple(settled)

    async def _ask(self, unclear: Sequence[Completion], known: Mapping[str, Known]) -> list[Completion]:
        """Find the unclear records among all that the API has; one that is gone meanwhile is left out."""
        page = await self._recount(unclear[0].user_id, unclear[0].training_id)
        equals = _by_base(page.completions).get(base_of(unclear[0].key), [])
        wanted = [fingerprint(record.raw) for record in unclear]
        found = []
        for record in match(equals, known, complete=True).settled:
            mark = fingerprint(record.raw)
            if mark in wanted:
                wanted.remove(mark)
                found.append(record)
        return found


def _by_base(completions: Iterable[Completion]) -> dict[str, list[Completion]]:
    groups: defaultdict[str, list[Completion]] = defaultdict(list)
    for completion in completions:
        groups[base_of(completion.key)].append(completion)
    return groups


def _known_by_base(known: Mapping[str, Known]) -> defaultdict[str, dict[str, Known]]:
    groups: defaultdict[str, dict[str, Known]] = defaultdict(dict)
    for key, memory in known.items():
        groups[base_of(key)][key] = memory
    return groups


def _number(key: str) -> int:
    return int(key[_KEY_LENGTH + 1 :] or 1)


def _key(base: str, number: int) -> str:
    return base if number == 1 else f"{base}-{number}"
