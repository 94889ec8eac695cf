"""Delays and limits of detection that are not configurable."""

from typing import Final

from msgspec import Struct


class DetectionLimits(Struct, frozen=True):
    """All delays and limits of detection in one object, so that a test can use seconds instead of hours.

    `large_page` is the page size of sweeps, searches and precise questions, which is the API's maximum.
    """

    large_page: int = 1000

    operator_pause_seconds: float = 600.0
    """Wait between two tries while only an operator can solve the problem."""
    retry_seconds: float = 60.0
    """Wait between two tries of a failed sweep, search or second look."""

    first_search_retry_seconds: float = 60.0
    """Wait between the first two searches for the same unexplained difference; doubled after each futile search."""
    longest_search_retry_seconds: float = 3600.0
    search_seconds_a_page: float = 5.0
    """Pause after a search, for each page that the search has read; it keeps searches to about ten pages a minute."""
    sweep_seconds_a_page: float = 12.0
    """Minimum wait between two sweeps for an unexplained count: this many seconds for each page of the list."""
    unexplained_seconds: float = 600.0
    """Time after which an unexplained count becomes a condition."""
    offset_seconds: float = 3600.0
    """Time for which sweeps have to leave the same count difference before the API's count is deemed wrong."""
    exhausted_seconds: float = 600.0
    """If the request budget was used up for most of this time, that becomes a condition."""

    form_seconds: float = 86_400.0
    """Time for which a record's earlier contents are remembered."""
    flips_seconds: float = 3600.0
    """A condition reports a record with at least `min_flips` contradictions until this long after the latest one."""
    min_flips: int = 3
    shown_seconds: float = 86_400.0
    """Time for which a condition about a past event is shown."""
    hold_window_seconds: float = 600.0
    """Time window in which arrivals and changes are counted together; a sweep has its own count."""

    smaller_pages_seconds: float = 21_600.0
    """Time for which smaller pages are requested after an answer was too large, before a larger size is tried."""
    slow_pages_seconds: float = 600.0
    """Time for which smaller pages are requested after answers came too late, before a larger size is tried."""

    page_tries: int = 3
    """The number of times that an incomplete page is requested."""
    max_questions: int = 20
    """Maximum number of precise questions in one search, or in one round of second looks."""
    max_question_pages: int = 5
    """Maximum number of pages of one answer to a question about only a person or only a training."""
    spare_search_pages: int = 10
    """Pages that a search may read in addition to twice the binary logarithm of the number of pages."""
    few_records: int = 20
    """Up to this many changes at once are never held back."""


DETECTION_LIMITS: Final = DetectionLimits()
