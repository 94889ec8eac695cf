"""The configuration: what can be set, where it comes from, and what is wrong with it."""

from notifier.config.addresses import TcpAddress, UnixAddress, parse_listen
from notifier.config.destinations import (
    AppriseSettings,
    CompletionEvent,
    Destination,
    DestinationSettings,
    HttpFormat,
    HttpSettings,
    MessageSettings,
    SlackSettings,
    TeamsSettings,
)
from notifier.config.durations import format_duration, parse_duration
from notifier.config.json_schema import schema
from notifier.config.loading import load
from notifier.config.places import find_file
from notifier.config.problems import ConfigError, Problem
from notifier.config.settings import (
    AlertSettings,
    ApiVersion,
    FirstRun,
    HttpInterfaceSettings,
    LogFormat,
    LogLevel,
    LogSettings,
    Settings,
    SourceSettings,
    StoreSettings,
)

__all__ = [
    "AlertSettings",
    "ApiVersion",
    "AppriseSettings",
    "CompletionEvent",
    "ConfigError",
    "Destination",
    "DestinationSettings",
    "FirstRun",
    "HttpFormat",
    "HttpInterfaceSettings",
    "HttpSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "MessageSettings",
    "Problem",
    "Settings",
    "SlackSettings",
    "SourceSettings",
    "StoreSettings",
    "TcpAddress",
    "TeamsSettings",
    "UnixAddress",
    "find_file",
    "format_duration",
    "load",
    "parse_duration",
    "parse_listen",
    "schema",
]
