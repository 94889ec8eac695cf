"""Which class serves which destination type."""

from typing import assert_never

import aiohttp

from notifier.clock import Clock
from notifier.config.destinations import AppriseSettings, HttpSettings, SlackSettings, TeamsSettings
from notifier.config.destinations import Destination as AnySettings
from notifier.deliver.apprise import AppriseDestination
from notifier.deliver.destination import Destination
from notifier.deliver.http import HttpDestination
from notifier.deliver.slack import SlackDestination
from notifier.deliver.teams import TeamsDestination


def build(name: str, settings: AnySettings, session: aiohttp.ClientSession, clock: Clock) -> Destination:
    """Make the destination that `settings` describe; its requests go through `session`."""
    match settings:
        case SlackSettings():
            return SlackDestination(name, settings, session, clock)
        case HttpSettings():
            return HttpDestination(name, settings, session, clock)
        case TeamsSettings():
            return TeamsDestination(name, settings, session, clock)
        case AppriseSettings():
            return AppriseDestination(name, settings)
        case _:
            assert_never(settings)
