"""Fixtures: events, and receivers for destinations."""

from tests.support.command_line import home
from tests.support.destinations import (
    certificates,
    deliveries,
    make_alert,
    make_event,
    receiver,
    renewed_certificates,
    session,
    strict_receiver,
    tls_receiver,
    way_to_post,
)

__all__ = [
    "certificates",
    "deliveries",
    "home",
    "make_alert",
    "make_event",
    "receiver",
    "renewed_certificates",
    "session",
    "strict_receiver",
    "tls_receiver",
    "way_to_post",
]
