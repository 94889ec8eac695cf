"""The union of the settings of all types of destination."""

from typing import Annotated

from pydantic import Field

from notifier.config.brokers import AmqpSettings, AwsSettings, KafkaSettings, MqttSettings
from notifier.config.message_destinations import AppriseSettings, SlackSettings, TeamsSettings
from notifier.config.webhooks import HttpSettings

Destination = Annotated[
    SlackSettings
    | TeamsSettings
    | AppriseSettings
    | HttpSettings
    | KafkaSettings
    | AmqpSettings
    | MqttSettings
    | AwsSettings,
    Field(discriminator="type"),
]
"""The settings of one destination; `type` selects the class."""
