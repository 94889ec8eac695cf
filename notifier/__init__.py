"""Completion Notifier: the webhook that KPA Flex does not have."""

__version__ = "1.0.0"
