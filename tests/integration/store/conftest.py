"""A state file with a past, to be damaged."""

from tests.support.used_state_file import lived, place

__all__ = ["lived", "place"]
