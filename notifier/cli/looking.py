"""What a source's token sees, found out with as few requests as possible and without storing anything."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import aiohttp

from notifier.cli.text import NOTHING
from notifier.clock import SystemClock
from notifier.config import SourceSettings
from notifier.kpa.budget import RequestBudget, Urgency
from notifier.kpa.client import Client
from notifier.kpa.failures import ApiFailure, Reason
from notifier.transport import new_session
from notifier.watch.count import told_by

_REQUESTS_PER_MINUTE: Final = 60
"""Enough for the three requests that a look takes to go out at once."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of one source; None: not seen.

    `names` counts the names of `people` and of `trainings`, `troubles` are sentences for people.
    """

    source: str
    answers: bool = False
    records: int | None = None
    newest: str | None = None
    names: Mapping[str, int] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "answers": self.answers,
            "records": self.records,
            "newest": self.newest,
            "people": self.names.get("people"),
            "trainings": self.names.get("trainings"),
            "troubles": list(self.troubles),
        }

    def row(self) -> tuple[str, ...]:
        """Return it as a row of a table."""
        return (
            self.source,
            "yes" if self.answers else "no",
            _written(self.records),
            self.newest or NOTHING,
            _written(self.names.get("people")),
            _written(self.names.get("trainings")),
        )


def _written(count: int | None) -> str:
    return NOTHING if count is None else f"{count:,}"


async def look_at_all(sources: Mapping[str, SourceSettings]) -> list[Sight]:
    """Look at all sources at the same time."""
    async with new_session() as session:
        return await asyncio.gather(*(look(name, settings, session) for name, settings in sources.items()))


async def look(name: str, settings: SourceSettings, session: aiohttp.ClientSession) -> Sight:
    """Ask for one record, and for names if the configuration wants them. What fails becomes a trouble."""
    client = Client(session, settings, RequestBudget(_REQUESTS_PER_MINUTE, SystemClock()))
    try:
        page = await client.page(1, limit=1, urgency=Urgency.HEAD)
    except ApiFailure as failure:
        return Sight(name, troubles=(failure.message,))
    sight = Sight(
        name,
        answers=True,
        records=told_by(page).exactly,
        newest=page.completions[0].completed_on if page.completions else None,
        troubles=tuple(f"a record cannot be read: {bad.problem}" for bad in page.bad),
    )
    return await _look_for_names(client, sight) if settings.names else sight


async def _look_for_names(client: Client, sight: Sight) -> Sight:
    for kind, names in (("people", client.people()), ("trainings", client.trainings())):
        try:
            async with aclosing(names):
                known = sum([len(batch) async for batch in names])
            sight = replace(sight, names={**sight.names, kind: known})
        except ApiFailure as failure:
            advice = "; or set `names = false`" if failure.reason is Reason.TOKEN_PERMISSION else ""
            sight = replace(sight, troubles=(*sight.troubles, f"names of {kind}: {failure.message}{advice}"))
            if failure.reason is Reason.RATE_LIMIT_EXCEEDED:
                # The client keeps silent for the source's pause now, and nobody wants to wait for that here.
                break
    return sight
