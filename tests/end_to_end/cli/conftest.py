"""What the commands work on and talk to."""

from tests.support.command_line import api, home, receiver

__all__ = ["api", "home", "receiver"]
