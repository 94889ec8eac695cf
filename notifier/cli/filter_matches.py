"""Counts the trainings and people that each destination's filters match, for `notifier check --online`. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

from notifier.cli.formatting import NOTHING, Column
from notifier.config import DestinationSettings, Settings
from notifier.delivery.subscriptions import subscription_of
from notifier.facts import PersonFacts
from notifier.patterns import EXCLUDES, matches_any
from notifier.store.subscriptions import Filter, texts_to_match

COLUMNS: Final = (Column("destination"), Column("trainings", align_right=True), Column("people", align_right=True))


class Directory(Struct, frozen=True):
    """The lists of one source: titles of trainings by training id, and facts about people by user id.

    A list that was not read is None.
    """

    trainings: Mapping[str, str] | None = None
    people: Mapping[str, PersonFacts] | None = None


class MatchCount(Struct, frozen=True):
    """The number of known trainings (or people), and how many of them match a destination's filters."""

    matched: int
    known: int

    def __str__(self) -> str:
        """Return text such as `3 of 20`."""
        return f"{self.matched:,} of {self.known:,}"


class FilterMatches(Struct, frozen=True):
    """What a destination's filters match in the lists of its sources."""

    destination: str
    trainings: MatchCount | None = None
    """The counts of trainings; None if some source's list of trainings was not read."""
    people: MatchCount | None = None
    """The counts of people; None if some source's list of people was not read."""
    unmatched: tuple[tuple[Filter, str], ...] = field(default=())
    """The filter's key and the pattern, for each pattern that matches nothing."""

    def document(self) -> dict[str, Any]:
        """Return the matches as a JSON object."""
        return {
            "trainings": _match_count_document(self.trainings),
            "people": _match_count_document(self.people),
            "unmatched": [{"key": key, "pattern": pattern} for key, pattern in self.unmatched],
        }

    def row(self) -> tuple[str, ...]:
        """Return the matches as a row of a table."""
        return self.destination, str(self.trainings or NOTHING), str(self.people or NOTHING)

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each pattern that matches nothing.

        If the filters match no training, or no person, also yields a sentence that says so.
        """
        for key, pattern in self.unmatched:
            what = "excludes nothing" if pattern.startswith(EXCLUDES) else "matches nothing"
            yield f'destinations.{self.destination}.{key}: "{pattern}" {what} in the present lists of its sources'
        for what, count in (("trainings", self.trainings), ("people", self.people)):
            if count is not None and count.known and not count.matched:
                yield (
                    f"destinations.{self.destination}: its filters match none of the {count.known:,} {what} in the"
                    " present lists of its sources, so it gets no event"
                )


def count_matches(settings: Settings, directories: Mapping[str, Directory]) -> list[FilterMatches]:
    """Count what each destination's filters match.

    `directories` has the lists of each source, by source name. A source that did not answer is missing in
    `directories`.
    """
    return [
        _count_matches_of(
            name, destination, [directories.get(source, Directory()) for source in _sources(destination, settings)]
        )
        for name, destination in settings.destinations.items()
    ]


def _sources(destination: DestinationSettings, settings: Settings) -> Sequence[str]:
    return destination.sources or tuple(settings.sources)


def _count_matches_of(name: str, settings: DestinationSettings, directories: Sequence[Directory]) -> FilterMatches:
    wanted = subscription_of(name, settings)
    trainings = people = None
    texts: dict[Filter, list[str]] = {}
    if all(directory.trainings is not None for directory in directories):
        all_trainings = [item for directory in directories for item in (directory.trainings or {}).items()]
        trainings = MatchCount(
            sum(wanted.filter_rejecting_training(*item) is None for item in all_trainings), len(all_trainings)
        )
        texts[Filter.TRAININGS] = [title for _, title in all_trainings]
    if all(directory.people is not None for directory in directories):
        all_people = [item for directory in directories for item in (directory.people or {}).items()]
        people = MatchCount(sum(wanted.filter_rejecting_person(*item) is None for item in all_people), len(all_people))
        for key in (Filter.PEOPLE, Filter.JOB_TITLES, Filter.FIELD_OFFICES, Filter.LINES_OF_BUSINESS):
            texts[key] = [text for item in all_people for text in texts_to_match(key, *item)]
    unmatched = tuple(
        (key, pattern)
        for key, texts_of_key in texts.items()
        for pattern in wanted.patterns(key).written
        if not matches_any(pattern, texts_of_key)
    )
    return FilterMatches(name, trainings, people, unmatched)


def _match_count_document(count: MatchCount | None) -> dict[str, int] | None:
    return None if count is None else {"matched": count.matched, "known": count.known}
