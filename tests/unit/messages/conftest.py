"""Fixtures: events and deliveries for messages."""

from tests.support.destinations import deliveries, make_alert, make_event, session

__all__ = ["deliveries", "make_alert", "make_event", "session"]
