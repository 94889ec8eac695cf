"""The destination types for people: the class of their settings, and a valid URL for each."""

from collections.abc import Mapping

from notifier.config import AppriseSettings, SlackSettings, TeamsSettings

TYPES: Mapping[str, tuple[type[SlackSettings | TeamsSettings | AppriseSettings], str]] = {
    "slack": (SlackSettings, "https://hooks.slack.com/services/x"),
    "teams": (TeamsSettings, "https://example.logic.azure.com/workflows/x"),
    "apprise": (AppriseSettings, "json://example.com"),
}
