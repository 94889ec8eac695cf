"""Decides which destinations get an event, at the moment when the event is stored.

Some filters compare facts from other lists of the API, such as an employee number. While a fact is unknown, the filter
lets the event pass: a superfluous message is better than a lost one.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import orjson
from msgspec import Struct

from notifier.facts import PersonFacts, PersonField
from notifier.patterns import Patterns, is_person_id

_EVERYTHING = Patterns()


class Filter(StrEnum):
    """The filters of a destination; each value is the filter's key in the configuration."""

    EVENTS = "events"
    SOURCES = "sources"
    TRAINING_IDS = "training_ids"
    USER_IDS = "user_ids"
    TRAININGS = "trainings"
    PEOPLE = "people"
    JOB_TITLES = "job_titles"
    FIELD_OFFICES = "field_offices"
    LINES_OF_BUSINESS = "lines_of_business"


class KnownFacts(Struct, frozen=True):
    """What is known about the training and the person of a completion; each field is None if it is unknown."""

    training_title: str | None = None
    person: PersonFacts | None = None


NOTHING_KNOWN = KnownFacts()


def facts_of_data(data: Mapping[str, Any]) -> KnownFacts:
    """Return the facts in an event's data; events of earlier versions have no facts about the person."""
    return KnownFacts(data["completion"].get("training_title"), data.get("user"))


def facts_of_row(training_title: str | None, user: str | None) -> KnownFacts:
    """Return the facts from the values of the two expressions in `FACTS_SQL`."""
    return KnownFacts(training_title, None if user is None else orjson.loads(user))


FACTS_SQL = "json_extract(data, '$.completion.training_title'), json_extract(data, '$.user')"
"""The SQL expressions for an event's facts; `facts_of_row` converts their values."""


class Subscription(Struct, frozen=True):
    """The filters of one destination. If `events` is empty, no event is admitted. Any other empty filter admits all."""

    destination: str
    events: frozenset[str]
    sources: frozenset[str] = frozenset()
    training_ids: frozenset[str] = frozenset()
    user_ids: frozenset[str] = frozenset()
    trainings: Patterns = _EVERYTHING
    people: Patterns = _EVERYTHING
    job_titles: Patterns = _EVERYTHING
    field_offices: Patterns = _EVERYTHING
    lines_of_business: Patterns = _EVERYTHING

    @property
    def has_record_filters(self) -> bool:
        """Whether any filter selects by training or by person."""
        return bool(
            self.training_ids
            or self.user_ids
            or self.trainings
            or self.people
            or self.job_titles
            or self.field_offices
            or self.lines_of_business
        )

    def admits(
        self, event_type: str, source: str, training_id: str, user_id: str, known: KnownFacts = NOTHING_KNOWN
    ) -> bool:
        """Return whether the destination gets an event about a completion."""
        return self.rejecting_filter(event_type, source, training_id, user_id, known) is None

    def rejecting_filter(
        self, event_type: str, source: str, training_id: str, user_id: str, known: KnownFacts = NOTHING_KNOWN
    ) -> Filter | None:
        """Return the first filter that rejects an event about a completion; None if none does."""
        if event_type not in self.events:
            return Filter.EVENTS
        if self.sources and source not in self.sources:
            return Filter.SOURCES
        if not self.has_record_filters:
            return None
        return self.filter_rejecting_training(training_id, known.training_title) or self.filter_rejecting_person(
            user_id, known.person
        )

    def filter_rejecting_training(self, training_id: str, title: str | None) -> Filter | None:
        """Return the first filter that rejects a training; None if none does."""
        if self.training_ids and training_id not in self.training_ids:
            return Filter.TRAINING_IDS
        if self.trainings and self.trainings.rejects(() if title is None else (title,), is_complete=title is not None):
            return Filter.TRAININGS
        return None

    def filter_rejecting_person(self, user_id: str, person: PersonFacts | None) -> Filter | None:
        """Return the first filter that rejects a person; None if none does."""
        if self.user_ids and user_id not in self.user_ids:
            return Filter.USER_IDS
        for key, fields in _COMPARED_FIELDS.items():
            patterns = self.patterns(key)
            if not patterns:
                continue
            is_complete = self._has_all_facts(key, person, fields)
            if patterns.rejects(texts_to_match(key, user_id, person), is_complete=is_complete):
                return key
        return None

    def undecided_filters(self, user_id: str, known: KnownFacts) -> tuple[Filter, ...]:
        """Return the filters that admit an event only because facts are unknown."""
        found = [Filter.TRAININGS] if known.training_title is None and self.trainings.could_change(()) else []
        for key, fields in _COMPARED_FIELDS.items():
            if not self._has_all_facts(key, known.person, fields):
                texts = texts_to_match(key, user_id, known.person)
                found += [key] if self.patterns(key).could_change(texts) else []
        return tuple(found)

    def _has_all_facts(self, key: Filter, person: PersonFacts | None, fields: Collection[PersonField]) -> bool:
        """Return whether every fact that the filter `key` compares is known about this person."""
        return _has_facts(person, fields) or (
            key is Filter.PEOPLE and all(map(is_person_id, self.patterns(key).written))
        )

    def patterns(self, key: Filter) -> Patterns:
        """Return the patterns of a filter. If the filter has no patterns, return patterns that admit everything."""
        match key:
            case Filter.TRAININGS:
                return self.trainings
            case Filter.PEOPLE:
                return self.people
            case Filter.JOB_TITLES:
                return self.job_titles
            case Filter.FIELD_OFFICES:
                return self.field_offices
            case Filter.LINES_OF_BUSINESS:
                return self.lines_of_business
            case _:
                return _EVERYTHING


_COMPARED_FIELDS: Final[Mapping[Filter, Collection[PersonField]]] = MappingProxyType(
    {
        Filter.PEOPLE: (PersonField.EMPLOYEE_NUMBER,),
        Filter.JOB_TITLES: (PersonField.JOB_TITLE, PersonField.JOB_TITLE_ID),
        Filter.FIELD_OFFICES: (PersonField.FIELD_OFFICE_IDS,),
        Filter.LINES_OF_BUSINESS: (PersonField.LINE_OF_BUSINESS_IDS,),
    }
)
"""For each of these filters, the facts about a person that the filter compares with its patterns."""


def texts_to_match(key: Filter, user_id: str, person: PersonFacts | None) -> list[str]:
    """Return the known texts about a person that a filter compares with its patterns."""
    texts = _known_texts(person, _COMPARED_FIELDS[key])
    return [user_id, *texts] if key is Filter.PEOPLE else texts


def _known_texts(person: PersonFacts | None, fields: Collection[PersonField]) -> list[str]:
    """Return a person's known values in these fields, as one list of texts."""
    texts: list[str] = []
    for name in fields:
        value = None if person is None else person.get(name)
        if isinstance(value, str):
            texts.append(value)
        elif value is not None:
            texts += value
    return texts


def _has_facts(person: PersonFacts | None, fields: Collection[PersonField]) -> bool:
    # The job title's id may be absent because the configuration does not ask for it, so only the title counts.
    return person is not None and all(name in person for name in fields if name is not PersonField.JOB_TITLE_ID)
