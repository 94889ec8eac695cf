"""How late each kind of change may be told, and how many requests that may cost: the one place that says so.

| change | found by | told at the latest |
|---|---|---|
| entered among the newest of the list | head poll | two polls later |
| anything that leaves the API's count other than the known records | count check | `difference` |
| an entry and a deletion at the same moment, far from each other (profile `far_pairs`) | spot checks | `difference` |
| anything else: edits below the first page, an entry and a deletion that cancel out | full scan | `scan` |
| a removal, a return, an earlier form | as above | `confirm_after` and one poll later than that (`confirmed`) |
| anything, once nothing goes wrong any more | full scan | `end` |

Before the first full scan is over, nothing below the first page has a deadline but that scan.
"""

import math
from dataclasses import dataclass
from typing import Final

from tests.simulation.profiles import Profile

_SLACK_SECONDS: Final = 40.0
"""For the time that requests take, and for the minute's fraction at which the observers look."""

_SEARCH_SECONDS: Final = 15 * 60.0
"""A difference is looked for at once, and again after 1, 2, 4 and 8 minutes."""

_UNREPORTED_SECONDS: Final = 10 * 60.0
"""So long may something be withheld or unexplained without a word."""

_DISAGREEMENT_SECONDS: Final = 3600.0
"""So long does the program remember that answers have disagreed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The deadlines of one profile, in seconds; `requests` and so on are numbers of requests."""

    head: float
    confirmed: float
    difference: float
    scan: float
    voice: float
    end: float

    @classmethod
    def for_profile(cls, profile: Profile, records: int) -> "Bounds":
        """Return the deadlines for a list of so many records."""
        pages = math.ceil(records / profile.large_page) + 3
        # Half of the budget: the other half is for polls and searches.
        duration = pages * 120 / profile.requests_per_minute
        head = 2 * profile.poll + _SLACK_SECONDS
        confirmed = head + profile.confirm_after + profile.poll + _SLACK_SECONDS
        difference = _SEARCH_SECONDS + confirmed + 2 * duration
        scan = profile.scan + 2 * duration + confirmed if profile.scans else difference
        end = 2 * scan + _SLACK_SECONDS if profile.scans else difference
        if profile.spells or profile.fates:
            end = max(end, _DISAGREEMENT_SECONDS + head)
        return cls(head, confirmed, difference, scan, _UNREPORTED_SECONDS + head, end)


def max_requests_when_idle(profile: Profile, records: int, seconds: float, settled_seconds: float) -> float:
    """Return how many requests are enough where nothing changes: two a poll, and full scans.

    During the last `settled_seconds` of these seconds polls are rarer. The margin is so much smaller, so that one
    request too many in each poll is noticed all the same.
    """
    pages = math.ceil(records / profile.large_page) + 3
    polls = (seconds - settled_seconds) / profile.poll + settled_seconds / profile.poll_at_rest
    margin = polls * profile.poll / seconds
    return 2.2 * polls + (1 + margin) * (seconds / profile.scan + 1) * pages + 10 * margin


def max_precise_questions_when_idle(profile: Profile, records: int) -> int:
    """Return how many records may be asked for one by one where nothing changes.

    Without ids, a scan asks about equal records wherever a page ends between them.
    """
    return 3 + (math.ceil(records / profile.large_page) if profile.api == "v1" else 0)


def max_precise_questions(gone: int, equal: int) -> int:
    """Return how many records may be asked for one by one in an honest world, where so many left their place.

    A removal is asked about twice, by its person and by its place. So many `equal` ones without ids were entered: each
    is looked for by searches and scans, which ask wherever a page ends between equal ones.
    """
    return 4 * gone + 12 * equal + 10


def max_requests_besides_polls(profile: Profile, records: int, changes: int, seconds: float) -> float:
    """Return how many requests are enough, beside the polls, in an honest world with so many changes.

    A change out of sight costs the logarithm of the pages, twice, and a handful; a removal a question and its second.
    """
    pages = math.ceil(records / profile.large_page) + 3
    scans = 2 * (seconds / profile.scan + 1) * pages
    return scans + changes * (2 * math.log2(max(2, pages)) + 8)
