"""Fixtures: the local HTTP interface, with a simulated daemon that records its calls."""

from tests.support.local_interface import interface, listen, reader, store

__all__ = ["interface", "listen", "reader", "store"]
