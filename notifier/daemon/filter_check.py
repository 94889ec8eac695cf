"""Finds ids in filters that no source knows. They are probably mistyped, and no event would ever pass the filter."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from notifier.config import Settings
from notifier.daemon.configuration import RunningConfiguration
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.tables import known_ids
from notifier.store.tables.names import NameList

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IdFilter:
    """The ids under one key of the configuration; at least one of `sources` should know each of them."""

    key: str
    names: NameList
    ids: tuple[str, ...]
    sources: tuple[str, ...]


def id_filters(settings: Settings) -> Iterator[IdFilter]:
    """Yield the filters by id that can be checked, because all their sources fetch names. Pure."""
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


class UnknownIds:
    """Warns once of each unknown id in the filters, as soon as the names of their sources are known."""

    def __init__(self, store: Store, configuration: RunningConfiguration) -> None:
        self._store = store
        self._configuration = configuration
        self._judged: frozenset[IdFilter] = frozenset()

    async def look(self) -> None:
        """Check the filters that were not checked before, if possible; after a failed read, the next call retries."""
        filters = tuple(id_filters(self._configuration.settings))
        self._judged &= frozenset(filters)
        for one in filters:
            if one not in self._judged:
                try:
                    await self._judge(one)
                except StoreError as error:
                    _log.debug(error.message, extra={"reason": error.reason})
                    return

    async def _judge(self, one: IdFilter) -> None:
        if not await self._store.run(known_ids.names_are_fetched, one.sources, one.names):
            return
        for unknown in await self._unknown(one):
            _log.warning(
                "a filter contains an unknown id, so no known record matches it; check the id",
                extra={"key": one.key, "id": unknown},
            )
        self._judged |= {one}

    async def _unknown(self, one: IdFilter) -> list[str]:
        """Return the ids that occur neither in the names nor in the records."""
        missing = await self._store.run(known_ids.unnamed, one.sources, one.names, one.ids)
        after: int | None = 0
        while missing and after is not None:
            found, after = await self._store.run(known_ids.recorded, one.sources, one.names, missing, after)
            missing = [id_ for id_ in missing if id_ not in found]
        return missing
