"""The configuration: its settings, the places that it is read from, and the problems found in it."""

from notifier.config.brokers import AmqpSettings, AwsSettings, BrokerSettings, KafkaSettings, MqttSettings
from notifier.config.destination_types import Destination
from notifier.config.destinations import CompletionEvent, DestinationSettings, ScheduledSettings
from notifier.config.durations import format_duration, parse_duration
from notifier.config.errors import ConfigError, Problem
from notifier.config.loader import ConfiguredNames, configured_names, keys_from_systemd, load, locate_state_file
from notifier.config.message_destinations import (
    AppriseSettings,
    DigestBy,
    MessageSettings,
    SlackSettings,
    TeamsSettings,
)
from notifier.config.paths import find_file
from notifier.config.settings import (
    AlertSettings,
    HttpInterfaceSettings,
    LogFormat,
    LogLevel,
    LogSettings,
    Settings,
    StoreSettings,
)
from notifier.config.source_settings import ApiVersion, FirstRun, SourceSettings
from notifier.config.urls import TcpAddress, UnixAddress, parse_listen
from notifier.config.webhooks import HttpFormat, HttpSettings

__all__ = [
    "AlertSettings",
    "AmqpSettings",
    "ApiVersion",
    "AppriseSettings",
    "AwsSettings",
    "BrokerSettings",
    "CompletionEvent",
    "ConfigError",
    "ConfiguredNames",
    "Destination",
    "DestinationSettings",
    "DigestBy",
    "FirstRun",
    "HttpFormat",
    "HttpInterfaceSettings",
    "HttpSettings",
    "KafkaSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "MessageSettings",
    "MqttSettings",
    "Problem",
    "ScheduledSettings",
    "Settings",
    "SlackSettings",
    "SourceSettings",
    "StoreSettings",
    "TcpAddress",
    "TeamsSettings",
    "UnixAddress",
    "configured_names",
    "find_file",
    "format_duration",
    "keys_from_systemd",
    "load",
    "locate_state_file",
    "parse_duration",
    "parse_listen",
]
