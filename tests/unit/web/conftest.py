"""The local interface, with a daemon that only notes what it is asked."""

from tests.support.local_interface import interface, listen, reader, resources, store

__all__ = ["interface", "listen", "reader", "resources", "store"]
