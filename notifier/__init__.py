"""Completion Notifier: reports completed trainings of KPA Flex to Slack, webhooks and other destinations."""

__version__ = "1.0.0"
