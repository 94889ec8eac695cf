"""Checks the ids and patterns in filters: an id or pattern without a match is probably a typing error."""

import logging
from collections.abc import Collection, Iterator

from msgspec import Struct

from notifier.config import Settings
from notifier.daemon.configuration import RunningConfiguration
from notifier.delivery.subscriptions import subscription_of
from notifier.patterns import matches_any
from notifier.store.database import Database
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.subscriptions import Filter, texts_to_match
from notifier.store.tables import known_ids
from notifier.store.tables.names import NameList

_log = logging.getLogger(__name__)

FILTER_CHECK_JOB = "(unknown ids)"
"""The name of the job that warns about ids and patterns in filters that match nothing."""


class IdFilter(Struct, frozen=True):
    """The ids under one `key` of the configuration. Each id should exist in at least one of `sources`.

    `names` says which list of the API should contain the ids: trainings or people.
    """

    key: str
    names: NameList
    ids: tuple[str, ...]
    sources: tuple[str, ...]


def id_filters(settings: Settings) -> Iterator[IdFilter]:
    """Yield the ids of each filter that can be checked. Pure.

    A filter can be checked if all sources to which it applies have `names = true`.
    """
    everywhere = tuple(settings.sources)
    for name, source in settings.sources.items():
        for key, names, id_ in (
            ("training_id", NameList.TRAININGS, source.training_id),
            ("user_id", NameList.PEOPLE, source.user_id),
        ):
            if id_ is not None and source.names:
                yield IdFilter(f"sources.{name}.{key}", names, (id_,), (name,))
    for name, destination in settings.destinations.items():
        sources = destination.sources or everywhere
        for key, names, ids in (
            ("training_ids", NameList.TRAININGS, destination.training_ids),
            ("user_ids", NameList.PEOPLE, destination.user_ids),
        ):
            if ids and all(settings.sources[source].names for source in sources):
                yield IdFilter(f"destinations.{name}.{key}", names, ids, sources)


class PatternFilter(Struct, frozen=True):
    """The patterns under one `key` of a destination.

    Each pattern should match something in at least one of `sources`. `lists` are the lists of the API that must be
    fetched before the patterns can be checked.
    """

    key: str
    kind: Filter
    patterns: tuple[str, ...]
    sources: tuple[str, ...]
    lists: tuple[NameList, ...]


_LISTS = {
    Filter.TRAININGS: (NameList.TRAININGS,),
    Filter.PEOPLE: (NameList.PEOPLE,),
    Filter.JOB_TITLES: (NameList.PEOPLE, NameList.JOB_TITLES),
    Filter.FIELD_OFFICES: (NameList.PEOPLE,),
    Filter.LINES_OF_BUSINESS: (NameList.PEOPLE,),
}


def pattern_filters(settings: Settings) -> Iterator[PatternFilter]:
    """Yield the patterns of each filter that can be checked. Pure.

    A filter can be checked if all sources of its destination have `names = true`.
    """
    for name, destination in settings.destinations.items():
        sources = destination.sources or tuple(settings.sources)
        filters = subscription_of(name, destination)
        for kind, lists in _LISTS.items():
            patterns = filters.patterns(kind).written
            if patterns and all(settings.sources[source].names for source in sources):
                yield PatternFilter(f"destinations.{name}.{kind}", kind, patterns, sources, lists)


def unmatched_patterns(db: Database, pattern_filter: PatternFilter) -> list[str]:
    """Return the patterns that match nothing in the stored lists of the filter's sources."""
    if pattern_filter.kind is Filter.TRAININGS:
        texts: Collection[str] = known_ids.training_titles(db, pattern_filter.sources)
    else:
        people = known_ids.people_facts(db, pattern_filter.sources)
        texts = {text for id_, facts in people for text in texts_to_match(pattern_filter.kind, id_, facts)}
    return [pattern for pattern in pattern_filter.patterns if not matches_any(pattern, texts)]


class FilterChecker:
    """Checks each filter once, and logs a warning for each id or pattern that matches nothing."""

    def __init__(self, store: Store, configuration: RunningConfiguration) -> None:
        self._store = store
        self._configuration = configuration
        self._checked: frozenset[IdFilter | PatternFilter] = frozenset()

    async def check(self) -> None:
        """Check the filters that no earlier call has checked.

        A filter needs lists of the API from all its sources. If a list is missing, the filter is left to a later call.
        An error of the store ends this call, and a later call continues.
        """
        settings = self._configuration.settings
        filters: tuple[IdFilter | PatternFilter, ...] = (*id_filters(settings), *pattern_filters(settings))
        self._checked &= frozenset(filters)
        for one in filters:
            if one not in self._checked:
                try:
                    await (self._check_ids(one) if isinstance(one, IdFilter) else self._check_patterns(one))
                except StoreError as error:
                    _log.debug(error.message, extra={"reason": error.reason})
                    return

    async def _check_ids(self, id_filter: IdFilter) -> None:
        if not await self._store.run(known_ids.names_are_fetched, id_filter.sources, id_filter.names):
            return
        for unknown in await self._unknown_ids(id_filter):
            _log.warning(
                "a filter contains an unknown id, so no known record matches it; check the id",
                extra={"key": id_filter.key, "id": unknown},
            )
        self._checked |= {id_filter}

    async def _check_patterns(self, pattern_filter: PatternFilter) -> None:
        for names in pattern_filter.lists:
            if not await self._store.run(known_ids.names_are_fetched, pattern_filter.sources, names):
                return
        for pattern in await self._store.run(unmatched_patterns, pattern_filter):
            _log.warning(
                "a pattern in a filter matches nothing at present; check its spelling",
                extra={"key": pattern_filter.key, "pattern": pattern},
            )
        self._checked |= {pattern_filter}

    async def _unknown_ids(self, id_filter: IdFilter) -> list[str]:
        """Return the ids that are neither in the stored names nor in the stored records of the filter's sources."""
        missing = await self._store.run(known_ids.ids_without_name, id_filter.sources, id_filter.names, id_filter.ids)
        after: int | None = 0
        while missing and after is not None:
            found, after = await self._store.run(
                known_ids.ids_in_records, id_filter.sources, id_filter.names, missing, after
            )
            missing = [id_ for id_ in missing if id_ not in found]
        return missing
