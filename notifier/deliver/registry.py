"""Which class serves which destination type."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import aiohttp

from notifier.clock import Clock
from notifier.config.destinations import AppriseSettings, HttpSettings, SlackSettings, TeamsSettings
from notifier.config.destinations import Destination as AnySettings
from notifier.deliver import apprise, slack, teams
from notifier.deliver.destination import Destination
from notifier.deliver.http import HttpDestination
from notifier.deliver.message.layout import Fits


@dataclass(frozen=True, slots=True)
class Kind:
    """What serves a destination, and tells whether a message fits; None: what goes there is for programs."""

    make: Callable[[str, aiohttp.ClientSession, Clock], Destination]
    fits: Fits | None = None


def kind(settings: AnySettings) -> Kind:
    """Return what serves the destination that `settings` describe."""
    match settings:
        case SlackSettings():
            return Kind(lambda name, *used: slack.SlackDestination(name, settings, *used), slack.fits)
        case TeamsSettings():
            return Kind(lambda name, *used: teams.TeamsDestination(name, settings, *used), teams.fits)
        case AppriseSettings():
            return Kind(lambda name, *_: apprise.AppriseDestination(name, settings), apprise.fits)
        case HttpSettings():
            return Kind(lambda name, *used: HttpDestination(name, settings, *used))
        case _:
            assert_never(settings)


def build(name: str, settings: AnySettings, session: aiohttp.ClientSession, clock: Clock) -> Destination:
    """Make the destination that `settings` describe; its requests go through `session`."""
    return kind(settings).make(name, session, clock)
