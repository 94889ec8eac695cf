"""The result of one round of a source."""

from enum import StrEnum

from msgspec import Struct


class RoundResult(StrEnum):
    """How a poll ended; `silent` means that nothing was read, because requests are paused."""

    DONE = "done"
    SILENT = "silent"
    FAILED = "failed"


class Round(Struct, frozen=True):
    """The result of a poll: how it ended, how many events are new and, if a part was not done, why (a sentence)."""

    result: RoundResult
    events: int = 0
    message: str = ""

    @property
    def is_done(self) -> bool:
        """Whether the newest records were read."""
        return self.result is RoundResult.DONE
