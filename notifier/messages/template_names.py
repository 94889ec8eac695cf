"""The names of the templates, and the type of their variables.

This module imports no other module of the program, so that the process that renders templates starts quickly.
"""

from enum import StrEnum
from typing import Any

Variables = dict[str, Any]
"""A template's variables: text that is safe to show, numbers, and lists and dictionaries of these."""

SUFFIX = ".j2"
"""The suffix of template file names."""


class Template(StrEnum):
    """All templates, by file name without `.j2`. The beginning of each file lists the template's variables."""

    COMPLETED = "completed"
    CHANGED = "changed"
    REMOVED = "removed"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    RENEWED = "renewed"
    OTHER = "other"
    SESSION = "session"
    MEMBER = "member"
    NOTICE = "notice"
    HEADING = "heading"
    DIGEST = "digest"

    @property
    def file(self) -> str:
        """The name of the template's file."""
        return self.value + SUFFIX
