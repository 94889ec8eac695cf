"""Names of people and trainings: read from answers of megabytes, of which nothing else is kept."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from notifier.kpa.answers import list_in, read_object
from notifier.transport import Answer

_KEPT = ("ok", "error", "description", "users", "trainings", "id", "title", "firstname", "lastname", "employeeNumber")


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of a person: the name as people write it, and the employee number, None when there is none."""

    name: str
    employee_number: str | None


def read_people(answer: Answer, token: str) -> dict[str, Person]:
    """Read an answer of `users.list`: people by user id, without those who have no name. Raises ApiFailure."""
    people = {}
    for user_id, user in _entries(answer, token, "users"):
        name = f"{_words(user.get('firstname'))} {_words(user.get('lastname'))}".strip()
        if name:
            people[user_id] = Person(name, _words(user.get("employeeNumber")) or None)
    return people


def read_trainings(answer: Answer, token: str) -> dict[str, str]:
    """Read an answer of either version's list of trainings: titles by training id. Raises ApiFailure."""
    titles = {}
    for training_id, training in _entries(answer, token, "trainings"):
        title = _words(training.get("title"))
        if title:
            titles[training_id] = title
    return titles


def _entries(answer: Answer, token: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in list_in(read_object(answer, token, _parse_kept), name):
        entry_id = _words(entry.get("id")) if isinstance(entry, dict) else ""
        if entry_id:
            yield entry_id, entry


def _parse_kept(body: bytes) -> Any:
    """Parse a body and drop, object by object, whatever is not needed: personal data most of all.

    Slower than orjson, but orjson does not let go of the interpreter before it has parsed everything: even in a thread
    of its own it would stop the event loop for as long. The hook is where the event loop gets its turns.
    """
    return json.loads(body, object_hook=_only_kept)


def _only_kept(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in _KEPT if name in found}


def _words(value: object) -> str:
    """Return text, or a number, on one line and fit to be stored; empty for everything else."""
    if isinstance(value, str):
        return " ".join(value.encode("utf-8", "replace").decode().split())
    return str(value) if type(value) is int else ""
