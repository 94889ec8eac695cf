"""Keys for the records of the API's v1, which have no ids.

A key is derived from the person, the training and the time of entry. Records that agree in all of these are called
*equal*. The key of the first of them is the *base*. The key of each further one is the base and a number from 2 on. In
later answers, a known record is recognised by its JSON. If that is not enough, all records of the person and training
are requested.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import orjson
from msgspec import Struct
from msgspec.structs import replace

from notifier.events import Completion

_BASE_LENGTH = len("v1-") + 16


def key_without_id(user_id: str, training_id: str, recorded_at: int | None) -> str:
    """Return the key of a record without an id.

    It is `v1-` and the first 16 hex digits of the SHA-256 of the compact JSON array
    `["<user>","<training>","<created>"]`. The three strings are in UTF-8; `created` is decimal Unix milliseconds or
    empty.
    """
    created = "" if recorded_at is None else str(recorded_at)
    return "v1-" + hashlib.sha256(orjson.dumps([user_id, training_id, created])).hexdigest()[:16]


def key_base(key: str) -> str:
    """Return a key without its number; equal records have the same base."""
    return key[:_BASE_LENGTH]


def numbered_key(key: str, number: int) -> str:
    """Return the key of the `number`-th (from 1) of several equal records; `key` is the key of any of them."""
    base = key_base(key)
    return base if number == 1 else f"{base}-{number}"


def key_number(key: str) -> int:
    """Return the number that distinguishes a record from equal ones: the suffix of the key, or 1 without a suffix."""
    return int(key[_BASE_LENGTH + 1 :] or 1)


class KnownRecord(Protocol):
    """A known record, as far as `assign_keys` needs it."""

    @property
    def fingerprint(self) -> int:
        """The 64-bit fingerprint of its JSON."""
        ...

    @property
    def removed(self) -> bool:
        """Whether the record was removed."""
        ...


class AssignedKeys(Struct, frozen=True):
    """Records under their existing or new keys.

    A record in `unclear` is either a known record that has changed or an additional one. Only a precise question (for
    all records of the person and the training) can decide that.
    """

    assigned: tuple[Completion, ...]
    unclear: tuple[Completion, ...]


def assign_keys(equals: Sequence[Completion], known: Mapping[str, KnownRecord], *, complete: bool) -> AssignedKeys:
    """Assign keys to equal records, which share one base and come in order. Pure.

    `known` are the known records with that base. `complete` says that the API has no equal records besides `equals`. A
    known record is *free* if it is not removed and its key is not assigned yet. For each record, the first
    rule that applies decides:

    - If a known record has the same JSON: the key of that known record.
    - If `complete` is true and a known record is free: the key of the free record, whose changed form has been found.
    - If `complete` is false and a known record is free: no key, because the record is unclear.
    - Otherwise: a new key.
    """
    unmatched_known = dict(sorted(known.items(), key=lambda item: (item[1].removed, key_number(item[0]))))
    assigned: list[Completion] = []
    unmatched: list[Completion] = []
    for record in equals:
        fingerprint = record.fingerprint()
        key = next((key for key, memory in unmatched_known.items() if memory.fingerprint == fingerprint), None)
        if key is None:
            unmatched.append(record)
        else:
            del unmatched_known[key]
            assigned.append(replace(record, key=key))
    present = [key for key, memory in unmatched_known.items() if not memory.removed]
    if present and unmatched and not complete:
        return AssignedKeys(tuple(assigned), tuple(unmatched))
    number = max(map(key_number, known), default=0)
    for record in unmatched:
        if present:
            assigned.append(replace(record, key=present.pop(0)))
        else:
            number += 1
            assigned.append(replace(record, key=numbered_key(record.key, number)))
    return AssignedKeys(tuple(assigned), ())


def assign_keys_of_answer(
    equals: Sequence[Completion], known: Mapping[str, KnownRecord], *, is_whole: bool
) -> tuple[Completion, ...]:
    """Assign keys to the equal records of the answer to a precise question. Pure.

    If the answer is not whole, it may have one record on two pages. Then it only proves that one record exists, or as
    many as are known to exist; a record that may be a known one that has changed gets no key.
    """
    if not is_whole:
        unchanged = {memory.fingerprint for memory in known.values()}
        equals = sorted(equals, key=lambda record: record.fingerprint() not in unchanged)
        equals = equals[: max(1, count_existing(known))]
    return assign_keys(equals, known, complete=is_whole).assigned


def count_existing(known: Mapping[str, KnownRecord]) -> int:
    """Return the number of known records that are not removed."""
    return sum(not memory.removed for memory in known.values())


def group_by_base(completions: Iterable[Completion]) -> dict[str, list[Completion]]:
    """Return records grouped by the base of their keys, in order."""
    groups: defaultdict[str, list[Completion]] = defaultdict(list)
    for completion in completions:
        groups[key_base(completion.key)].append(completion)
    return groups


def bases_at_ends(completions: Sequence[Completion]) -> frozenset[str]:
    """Return the bases whose equal records may continue on a neighbouring page; `completions` are one page. Pure.

    Equal records are usually neighbours. A base is returned if several records of the page have it, and one of them is
    the page's first or last record. Only a precise question shows how to number these records. If only one record has
    the base, the base is not returned, because one page cannot show whether an equal record exists.
    """
    bases = [key_base(completion.key) for completion in completions]
    if not bases:
        return frozenset()
    return frozenset(base for base in (bases[0], bases[-1]) if bases.count(base) > 1)
