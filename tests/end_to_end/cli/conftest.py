"""Fixtures for the tests of commands."""

from tests.support.command_line import api, home, receiver

__all__ = ["api", "home", "receiver"]
