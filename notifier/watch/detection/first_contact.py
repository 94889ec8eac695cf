"""Determines the moment of the first contact, by the server's clock. Pure.

Records entered since then are news. The moment is taken from the `Date` header of the first answer, and corrected if
the next answers show that this header was wrong.
"""

from statistics import median_low
from typing import Final

from msgspec import Struct, field

from notifier.kpa.client import Page

_MAX_SAMPLES: Final = 9
_NOISE_MS: Final = 5_000
"""Milliseconds up to which a difference is not corrected, because `Date` has whole seconds and requests take time."""


def first_contact(page: Page, now_ms: int) -> int:
    """Return the moment of the first contact (Unix ms): when the server got the request, or slightly earlier.

    The moment is the `Date` header minus the duration of the request. Without that header, our own clock is used.
    The header is rounded down to whole seconds. So records entered earlier in that second count as news: a superfluous
    event is better than a lost one.
    """
    served_ms = now_ms if page.served_at_ms is None else page.served_at_ms
    return served_ms - round(page.seconds * 1000)


class ContactEstimate(Struct):
    """Estimates when the first request was sent, by the server's clock, from the `Date` headers of several answers.

    By our own clocks, the first request was sent at `requested_at` (monotonic seconds) and `own_ms` (Unix ms).
    """

    requested_at: float
    own_ms: int
    _samples: list[int] = field(default_factory=list)

    def add(self, page: Page) -> None:
        """Add the estimate from a page's `Date` header, if it has one."""
        if page.served_at_ms is not None and len(self._samples) < _MAX_SAMPLES:
            elapsed_ms = round((page.requested_at - self.requested_at) * 1000)
            self._samples.append(first_contact(page, 0) - elapsed_ms)

    def correction(self, contact_ms: int) -> int | None:
        """Return the median of the estimates; None if it is not clearly earlier than `contact_ms`.

        While there are only one or two estimates, our own clock counts as an additional estimate.
        """
        if not self._samples:
            return None
        estimates = self._samples if len(self._samples) > 2 else [*self._samples, self.own_ms]  # noqa: PLR2004
        median = median_low(sorted(estimates))
        return median if contact_ms - median > _NOISE_MS else None
