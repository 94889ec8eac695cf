"""The local interface, with a daemon that only notes what it is asked."""

from tests.support.local_interface import interface, ledger, listen, reader, resources

__all__ = ["interface", "ledger", "listen", "reader", "resources"]
