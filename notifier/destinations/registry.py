"""Creates destinations from their settings."""

from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

import aiohttp
from msgspec import Struct

from notifier.clock import Clock
from notifier.config.brokers import AmqpSettings, AwsSettings, KafkaSettings, MqttSettings
from notifier.config.destination_types import Destination as AnySettings
from notifier.config.message_destinations import AppriseSettings, SlackSettings, TeamsSettings
from notifier.config.webhooks import HttpSettings
from notifier.destinations.apprise_pool import ApprisePool
from notifier.destinations.base import Destination
from notifier.destinations.webhook.destination import HttpDestination
from notifier.messages.phrasing import MessageContext

if TYPE_CHECKING:
    from notifier.messages.layout import Fits


class DestinationType(Struct, frozen=True):
    """A type of destination.

    `make` creates a destination of this type. `fits` returns whether a message is within the size limits of the
    service. `fits` is None for types whose receivers are programs.
    """

    make: Callable[[str, aiohttp.ClientSession, Clock], Destination]
    fits: "Fits | None" = None


def destination_type(
    settings: AnySettings, pool: ApprisePool | None = None, context: Callable[[], MessageContext] = MessageContext
) -> DestinationType:
    """Return the type of the destination that `settings` describe."""
    # Most types are imported only if they are configured: those for people, because they import the template engine,
    # and those for brokers, because each imports its own library, which need not be installed.
    match settings:
        case SlackSettings():
            from notifier.destinations import slack  # noqa: PLC0415

            return DestinationType(
                lambda name, session, clock: slack.SlackDestination(name, settings, session, clock, context), slack.fits
            )
        case TeamsSettings():
            from notifier.destinations import teams  # noqa: PLC0415

            return DestinationType(
                lambda name, session, clock: teams.TeamsDestination(name, settings, session, clock, context), teams.fits
            )
        case AppriseSettings():
            from notifier.destinations import apprise  # noqa: PLC0415

            return DestinationType(
                lambda name, *_: apprise.AppriseDestination(name, settings, pool, context), apprise.fits
            )
        case HttpSettings():
            return DestinationType(lambda name, *used: HttpDestination(name, settings, *used))
        case AmqpSettings():
            from notifier.destinations import amqp  # noqa: PLC0415

            return DestinationType(lambda name, _, clock: amqp.AmqpDestination(name, settings, clock))
        case KafkaSettings():
            from notifier.destinations import kafka  # noqa: PLC0415

            return DestinationType(lambda name, _, clock: kafka.KafkaDestination(name, settings, clock))
        case MqttSettings():
            from notifier.destinations import mqtt  # noqa: PLC0415

            return DestinationType(lambda name, _, clock: mqtt.MqttDestination(name, settings, clock))
        case AwsSettings():
            from notifier.destinations import aws  # noqa: PLC0415

            return DestinationType(lambda name, *used: aws.AwsDestination(name, settings, *used))
        case _:
            assert_never(settings)


def build(
    name: str,
    settings: AnySettings,
    session: aiohttp.ClientSession,
    clock: Clock,
    pool: ApprisePool | None = None,
    context: Callable[[], MessageContext] = MessageContext,
) -> Destination:
    """Create the destination that `settings` describe.

    HTTP requests are sent through `session`, calls of the library apprise through `pool`. `context` returns the values
    that the messages of all destinations share.
    """
    return destination_type(settings, pool, context).make(name, session, clock)
