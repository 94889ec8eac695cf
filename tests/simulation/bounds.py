"""The limits that the oracle checks: how late a change may be reported, and how many requests are allowed.

| change | found by | reported at the latest |
|---|---|---|
| entered among the newest records of the list | head poll | two polls later |
| any change after which the API's count differs from the known records | count check | `difference` |
| an entry and a deletion at the same moment, far from each other (profile `far_pairs`) | probes | `difference` |
| any other: edits below the first page, an entry and a deletion that cancel out | full scan | `scan` |
| a removal, a return, an earlier state | as above | `confirm_after` and one poll later (`confirmed`) |
| any, once no more faults happen | full scan | `end` |

Before the first full scan has finished, changes below the first page have no other deadline than the end of that scan.
"""

import math
from dataclasses import dataclass
from typing import Final

from tests.simulation.profiles import Profile

_SLACK_SECONDS: Final = 40.0
"""Added to deadlines for the duration of requests, and because the oracle checks only once a minute."""

_SEARCH_SECONDS: Final = 15 * 60.0
"""The duration of all searches for a difference: at once, and again after 1, 2, 4 and 8 minutes."""

_UNREPORTED_SECONDS: Final = 10 * 60.0
"""How long a change may be withheld, or a difference unexplained, before a condition must say so."""

_DISAGREEMENT_SECONDS: Final = 3600.0
"""How long the program remembers that answers disagreed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The deadlines of one profile, in seconds."""

    head: float
    confirmed: float
    difference: float
    scan: float
    voice: float
    end: float

    @classmethod
    def for_profile(cls, profile: Profile, records: int) -> "Bounds":
        """Return the deadlines of a profile for a list of `records` records."""
        pages = math.ceil(records / profile.large_page) + 3
        # A scan gets half of the request budget; polls and searches need the other half.
        duration = pages * 120 / profile.requests_per_minute
        head = 2 * profile.poll + _SLACK_SECONDS
        confirmed = head + profile.confirm_after + profile.poll + _SLACK_SECONDS
        difference = _SEARCH_SECONDS + confirmed + 2 * duration
        scan = profile.scan + 2 * duration + confirmed if profile.repeats_scans else difference
        end = 2 * scan + _SLACK_SECONDS if profile.repeats_scans else difference
        if profile.spells or profile.fates:
            end = max(end, _DISAGREEMENT_SECONDS + head)
        return cls(head, confirmed, difference, scan, _UNREPORTED_SECONDS + head, end)


def max_requests_when_idle(profile: Profile, records: int, seconds: float, settled_seconds: float) -> float:
    """Return the most requests that are allowed in `seconds` without any change: two for each poll, and full scans.

    In the last `settled_seconds` of this time, polls are less frequent. The margin is small enough that one request too
    many in each poll exceeds the limit.
    """
    pages = math.ceil(records / profile.large_page) + 3
    polls = (seconds - settled_seconds) / profile.poll + settled_seconds / profile.poll_at_rest
    margin = polls * profile.poll / seconds
    return 2.2 * polls + (1 + margin) * (seconds / profile.scan + 1) * pages + 10 * margin


def max_precise_questions_when_idle(profile: Profile, records: int) -> int:
    """Return the most precise questions that are allowed while nothing changes.

    In v1, where records have no ids, a scan asks a precise question wherever a page ends between equal records.
    """
    return 3 + (math.ceil(records / profile.large_page) if profile.api == "v1" else 0)


def max_precise_questions(gone: int, equal: int) -> int:
    """Return the most precise questions that are allowed in a world without faults.

    `gone` is the number of records that left their place; each of them needs up to four questions. `equal` is the
    number of duplicates that were entered; searches and scans ask about them where a page ends between equal records.
    """
    return 4 * gone + 12 * equal + 10


def max_requests_besides_polls(profile: Profile, records: int, changes: int, seconds: float) -> float:
    """Return the most requests besides polls that are allowed for `changes` changes in a world without faults.

    Each change may take two searches, each with the logarithm of the number of pages as its number of requests, and
    eight further requests. Full scans are added.
    """
    pages = math.ceil(records / profile.large_page) + 3
    scans = 2 * (seconds / profile.scan + 1) * pages
    return scans + changes * (2 * math.log2(max(2, pages)) + 8)
