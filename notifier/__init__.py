"""Completion Notifier: the webhook that KPA Flex does not have."""

__version__ = "0.1.0"
