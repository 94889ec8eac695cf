"""The union of the settings of all types of destination."""

from typing import Annotated, Any, Final, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from notifier.config.base_table import BaseTable
from notifier.config.brokers import AmqpSettings, AwsSettings, KafkaSettings, MqttSettings
from notifier.config.introspection import TYPE_KEY, tags
from notifier.config.message_destinations import AppriseSettings, SlackSettings, TeamsSettings
from notifier.config.webhooks import HttpSettings

TABLE_CLASS: Final = "table"
"""A key in the metadata of a destination type's schema. The key's value is the class of the type's settings."""


class _SelectedByType:
    """Selects the class of a destination's settings by the key `type`.

    The validator of a class is built when it is first needed. A discriminated union would build the validators of all
    classes at each start.
    """

    def __get_pydantic_core_schema__(self, union: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        choices = {tag: _lazy_validator(table) for table in get_args(union) for tag in tags(table)}
        return core_schema.tagged_union_schema(choices, discriminator=TYPE_KEY)


def _lazy_validator(table: type[BaseTable]) -> core_schema.CoreSchema:
    def validate(value: Any, info: core_schema.ValidationInfo) -> BaseTable:
        return table.model_validate(value, context=info.context)

    return core_schema.with_info_plain_validator_function(validate, metadata={TABLE_CLASS: table})


Destination = Annotated[
    SlackSettings
    | TeamsSettings
    | AppriseSettings
    | HttpSettings
    | KafkaSettings
    | AmqpSettings
    | MqttSettings
    | AwsSettings,
    _SelectedByType(),
]
"""The settings of one destination; `type` selects the class."""
