"""Ids in filters that nobody has heard of: most likely mistyped, so that nothing ever passes the filter."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from notifier.config import Settings
from notifier.ledger import known
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger
from notifier.ledger.names import NameList

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IdFilter:
    """Ids under one key of the configuration, and the sources of which one has to know them."""

    key: str
    names: NameList
    ids: tuple[str, ...]
    sources: tuple[str, ...]


def id_filters(settings: Settings) -> Iterator[IdFilter]:
    """Yield the filters by ids that can be judged: those of sources whose names are fetched. Pure."""
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
    """Warns of ids in filters that are unknown once names are known: once of each, as long as it stands there."""

    def __init__(self, ledger: Ledger, settings: Callable[[], Settings]) -> None:
        """Take the ledger, and who tells the configuration of the moment."""
        self._ledger = ledger
        self._settings = settings
        self._judged: frozenset[IdFilter] = frozenset()

    async def look(self) -> None:
        """Judge the filters that have not been judged and can be now; what cannot be read is left to the next look."""
        filters = tuple(id_filters(self._settings()))
        self._judged &= frozenset(filters)
        for one in filters:
            if one not in self._judged:
                try:
                    await self._judge(one)
                except LedgerError as error:
                    _log.debug(error.message, extra={"reason": error.reason})
                    return

    async def _judge(self, one: IdFilter) -> None:
        if not await self._ledger.run(known.names_are_fetched, one.sources, one.names):
            return
        for unknown in await self._unknown(one):
            _log.warning(
                "an id in a filter is unknown: nothing that is known so far passes it; check it",
                extra={"key": one.key, "id": unknown},
            )
        self._judged |= {one}

    async def _unknown(self, one: IdFilter) -> list[str]:
        """Return the ids that neither names nor records have."""
        missing = await self._ledger.run(known.unnamed, one.sources, one.names, one.ids)
        after: int | None = 0
        while missing and after is not None:
            found, after = await self._ledger.run(known.recorded, one.sources, one.names, missing, after)
            missing = [id_ for id_ in missing if id_ not in found]
        return missing
