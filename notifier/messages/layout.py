"""The structure of a message for people: a single line, up to ten lines under a heading, or a digest.

Templates determine the words of the lines. The rows of a layout are literal text; each destination type converts them
to its service's format. Every layout is within the size limits of the destination type.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from notifier.events import Event, EventType
from notifier.facts import Occasion
from notifier.messages.notices import alert_variables
from notifier.messages.phrasing import PLAIN, Phrasing
from notifier.messages.rich_text import Line, parse_spans, plain_text
from notifier.messages.template_names import Template, Variables
from notifier.messages.variables import EventVariables, ParsedEvent, completion_variables, parse_event, session_key

if TYPE_CHECKING:
    from notifier.messages.templates import Templates

MAX_LINES: Final = 10
"""The maximum number of events in a message with one line per event.

More events become a digest, unless all of them are of one group session.
"""

NAME_WIDTHS: Final = (200, 100, 60, 40, 25, 15, 8)
"""The limits for the length of a name in code points, in the order in which they are tried. Any message fits with the
last limit.
"""

_DIGEST_WIDTHS: Final = NAME_WIDTHS[2:]
_TOP_TRAININGS: Final = 10
_MAX_PEOPLE: Final = 8

_TEMPLATE_OF: Final[Mapping[str, Template]] = {
    EventType.CREATED: Template.COMPLETED,
    EventType.UPDATED: Template.CHANGED,
    EventType.REMOVED: Template.REMOVED,
    EventType.EXPIRING: Template.EXPIRING,
    EventType.EXPIRED: Template.EXPIRED,
    EventType.RENEWED: Template.RENEWED,
}
_LISTING_WIDTHS: Final = NAME_WIDTHS[2:]
"""The limits for the length of a name in a digest that names every event. `count_fitting` uses the longest."""
_SESSION_FIELDS: Final = ("expires", "expires_on", "valid_until", "occasion", "instructor", "notes")
"""The fields that a group session's heading states if their values are the same for all people of the session."""

_ITEM_PREFIX: Final = "- "
"""The prefix that marks a line of a digest as a list item."""


class Row(Struct, frozen=True):
    """One row of a message: a line of text (`depth` None), a list item (0), or an item of a nested list (1)."""

    line: Line
    depth: int | None = None

    @property
    def text(self) -> str:
        """The row as plain text."""
        return self.bullet + plain_text(self.line)

    @property
    def text_with_urls(self) -> str:
        """The row as plain text, with each link's address in brackets."""
        return self.bullet + plain_text(self.line, with_urls=True)

    @property
    def bullet(self) -> str:
        """The prefix of a list item in plain text; "" for other rows."""
        return "" if self.depth is None else f"{'    ' * self.depth}• "


Layout = tuple[Row, ...]
"""The rows of a message, from top to bottom."""

Fits = Callable[[Layout], bool]
"""A function that returns whether a layout is within a service's limits. It is called only with layouts that have rows,
none of them empty.
"""


def lay_out(
    events: Sequence[Event], templates: "Templates", *, digest: bool, fits: Fits, phrasing: Phrasing = PLAIN
) -> Layout:
    """Return one message about `events` (at least one).

    If `digest` is true, the message states the number of events, their trainings and some of the people. Otherwise, it
    has a line for each event. Without `digest`, pass at most MAX_LINES events, unless all are of one group session.
    Names are shortened only as far as the service's limits (`fits`) require. A message that does not fit even with the
    shortest names becomes a digest.
    """
    contents = [parse_event(event) for event in events]
    layout = _longest_fitting(contents, templates, fits, phrasing, digest=digest)
    if layout is None and templates.shipped is not None:
        layout = _longest_fitting(contents, templates.shipped, fits, phrasing, digest=digest)
        if layout is not None:
            templates.report("produces more text than a message has room for, even with short names")
    if layout is None and not digest:
        return lay_out(events, templates, digest=True, fits=fits, phrasing=phrasing)
    return layout or _lay_out_digest(contents, templates.shipped or templates, _DIGEST_WIDTHS[-1], phrasing)


def lay_out_listing(
    events: Sequence[Event], templates: "Templates", *, by_person: bool, fits: Fits, phrasing: Phrasing = PLAIN
) -> Layout:
    """Return a digest that names each of `events` (at least two), grouped by training or by person.

    If the digest does not fit even with the shortest names, it has counts instead of the events. To avoid that, pass
    only the first events, as many as `count_fitting` returns.
    """
    contents = [parse_event(event) for event in events]
    for width in _LISTING_WIDTHS:
        layout = _lay_out_digest(contents, templates, width, phrasing, by_person=by_person)
        if layout and fits(layout):
            return layout
    return lay_out(events, templates, digest=True, fits=fits, phrasing=phrasing)


def count_fitting(
    events: Sequence[Event], templates: "Templates", *, by_person: bool, fits: Fits, phrasing: Phrasing = PLAIN
) -> int:
    """Return how many of `events`, counted from the first, fit into a digest that names each event; at least 1."""
    contents = [parse_event(event) for event in events]
    low, high = 1, len(events) + 1
    middle = len(events)
    while high - low > 1:
        layout = _lay_out_digest(contents[:middle], templates, _LISTING_WIDTHS[0], phrasing, by_person=by_person)
        if layout and fits(layout):
            low = middle
        else:
            high = middle
        middle = (low + high) // 2
    return low


def is_one_session(events: Sequence[Event]) -> bool:
    """Return whether all `events` belong to the same group session."""
    sessions = set(map(session_key, events))
    return len(sessions) == 1 and None not in sessions


def _longest_fitting(
    contents: Sequence[ParsedEvent], templates: "Templates", fits: Fits, phrasing: Phrasing, *, digest: bool
) -> Layout | None:
    """Return a message or digest with names as long as possible; None if even the shortest names do not fit."""
    lay_out_at, widths = (_lay_out_digest, _DIGEST_WIDTHS) if digest else (_lay_out_each, NAME_WIDTHS)
    layouts = (lay_out_at(contents, templates, width, phrasing) for width in widths)
    return next((layout for layout in layouts if layout and fits(layout)), None)


def _lay_out_each(contents: Sequence[ParsedEvent], templates: "Templates", width: int, phrasing: Phrasing) -> Layout:
    """Return a message with a line for each event.

    A heading with counts comes first, unless there is only one event, or all events are of one group session.
    """
    parts = list(_event_lines(contents, templates, width, phrasing))
    if len(parts) == 1:
        (heading, *people) = parts[0]
        return (Row(heading), *(Row(person, 0) for person in people))
    rows = [Row(templates.line(Template.HEADING, _counts(contents)))]
    for heading, *people in parts:
        rows += [Row(heading, 0), *(Row(person, 1) for person in people)]
    return tuple(rows)


def _event_lines(
    contents: Iterable[ParsedEvent], templates: "Templates", width: int, phrasing: Phrasing
) -> Iterator[list[Line]]:
    """Yield the lines of each event or group session, in the order of the events.

    All events of a group session are together, at the place of the session's first event.
    """
    items = [content if _is_alert(content) else completion_variables(content, width, phrasing) for content in contents]
    sessions: dict[tuple[str, ...], list[EventVariables]] = {}
    for item in items:
        if isinstance(item, EventVariables) and item.session is not None:
            sessions.setdefault(item.session, []).append(item)
    for item in items:
        match item:
            case ParsedEvent():
                yield [templates.line(Template.NOTICE, alert_variables(item.data, width, phrasing))]
            case EventVariables(session=session) if session is not None and len(sessions.get(session, ())) != 1:
                if members := sessions.pop(session, None):
                    yield list(_session_lines(members, templates))
            case EventVariables(variables=variables):
                template = _TEMPLATE_OF.get(item.type, Template.OTHER)
                yield [templates.line(template, variables)]


def _session_lines(members: Sequence[EventVariables], templates: "Templates") -> Iterator[Line]:
    """Yield a group session's lines: a heading with the values that all people share, then a line for each person."""
    first = members[0].variables
    shared = {name for name in _SESSION_FIELDS if all(member.variables[name] == first[name] for member in members)}
    own = {"person", "user_id", "key", "link"}
    common = {name: "" if name in _SESSION_FIELDS and name not in shared else text for name, text in first.items()}
    heading = {name: text for name, text in common.items() if name not in own}
    yield templates.line(Template.SESSION, {**heading, "people": len(members)})
    for member in members:
        yield templates.line(Template.MEMBER, {**member.variables, **dict.fromkeys(shared, "")})


def _lay_out_digest(
    contents: Sequence[ParsedEvent],
    templates: "Templates",
    width: int,
    phrasing: Phrasing,
    *,
    by_person: bool | None = None,
) -> Layout:
    """Return a digest: counts, and below them either every event, or only some of the trainings and people.

    Every event is named, grouped by person (`by_person` True) or by training (False). If `by_person` is None, only some
    trainings and people are named. Exception: even then, a short digest about expiry names every event, grouped by
    person, because a manager wants to know whom to send to a course.
    """
    if by_person is None and _is_short_expiry_digest(contents):
        by_person = True
    notices = [alert_variables(content.data, width, phrasing) for content in contents if _is_alert(content)]
    completions = [completion_variables(content, width, phrasing) for content in contents if not _is_alert(content)]
    titles = {item.training: item.variables["training"] for item in completions}
    trainings = Counter(item.training for item in completions).most_common()
    people = list({item.person: item.variables["person"] for item in completions}.values())
    lines = templates.lines(
        Template.DIGEST,
        {
            "heading": templates.marked_line(Template.HEADING, _counts(contents)),
            "notices": [templates.marked_line(Template.NOTICE, item) for item in notices],
            "trainings": [{"title": titles[key], "count": count} for key, count in trainings[:_TOP_TRAININGS]],
            "more_trainings": len(trainings[_TOP_TRAININGS:]),
            "more_events": sum(count for _, count in trainings[_TOP_TRAININGS:]),
            "people": people[:_MAX_PEOPLE],
            "more_people": len(people[_MAX_PEOPLE:]),
            "groups": [] if by_person is None else _digest_groups(completions, by_person=by_person, phrasing=phrasing),
            "url": phrasing.events_url,
            "command": f"notifier events --after {min(content.event.sequence for content in contents) - 1}",
        },
    )
    rows = (
        Row(parse_spans(line.removeprefix(_ITEM_PREFIX)), 0)
        if line.startswith(_ITEM_PREFIX)
        else Row(parse_spans(line))
        for line in lines
    )
    return tuple(row for row in rows if row.line)


_REMARKS: Final[Mapping[str, str]] = {
    EventType.UPDATED: "changed",
    EventType.REMOVED: "removed",
    EventType.EXPIRED: "expired",
    EventType.RENEWED: "renewed",
}
_EXPIRY_TYPES: Final = frozenset({EventType.EXPIRING, EventType.EXPIRED, EventType.RENEWED})
_MAX_LISTED: Final = 60
"""The maximum number of events in a digest of expiring, expired and renewed completions that names every event."""

_DAY_MS: Final = 86_400_000


def _is_short_expiry_digest(contents: Sequence[ParsedEvent]) -> bool:
    return len(contents) <= _MAX_LISTED and all(content.event.type in _EXPIRY_TYPES for content in contents)


def _days_left(contents: Iterable[ParsedEvent]) -> int:
    """Return the largest number of days from an `expiring` event to the last valid day of its completion.

    Returns 0 if there is no `expiring` event.
    """
    days = [0]
    for content in contents:
        completion = content.data.get("completion")
        until = completion.get("valid_until") if isinstance(completion, dict) else None
        if content.event.type == EventType.EXPIRING and isinstance(until, str):
            with suppress(ValueError):
                days.append(date.fromisoformat(until).toordinal() - _EPOCH_DAY - content.event.time_ms // _DAY_MS)
    return max(days)


_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


def _digest_groups(
    completions: Iterable[EventVariables], *, by_person: bool, phrasing: Phrasing
) -> list[dict[str, Any]]:
    """Return the events of a digest, grouped by person or by training, as template variables; largest groups first.

    A group has a `title` and `items`. An item has the variables of its event, the `name` of the training or person, and
    a remark (`what`).
    """
    groups: dict[str, list[EventVariables]] = {}
    for item in completions:
        groups.setdefault(item.person if by_person else item.training, []).append(item)
    title, name = ("person", "training") if by_person else ("training", "person")
    return [
        {
            "title": items[0].variables[title],
            "items": [
                {**item.variables, "name": item.variables[name], "what": _remark(item, phrasing)} for item in items
            ],
        }
        for items in sorted(groups.values(), key=len, reverse=True)
    ]


def _remark(item: EventVariables, phrasing: Phrasing) -> str:
    """Return a digest's remark about one event, such as "renewal"; "" for no remark."""
    until = item.variables["valid_until"]
    if item.type == EventType.CREATED and item.variables["occasion"] == Occasion.RENEWAL:
        return phrasing.translate("renewal")
    if item.type == EventType.EXPIRING and until:
        return f"{phrasing.translate('until')} {until}"
    return phrasing.translate(_REMARKS.get(item.type, ""))


def _is_alert(content: ParsedEvent) -> bool:
    return content.event.type == EventType.ALERT


def _counts(contents: Sequence[ParsedEvent]) -> Variables:
    """Return the number of events of each kind, as template variables."""
    kinds = Counter(content.event.type for content in contents)
    return {
        "completed": kinds.pop(EventType.CREATED, 0),
        "changed": kinds.pop(EventType.UPDATED, 0),
        "removed": kinds.pop(EventType.REMOVED, 0),
        "expiring": kinds.pop(EventType.EXPIRING, 0),
        "expiring_days": _days_left(contents),
        "expired": kinds.pop(EventType.EXPIRED, 0),
        "renewed": kinds.pop(EventType.RENEWED, 0),
        "notices": kinds.pop(EventType.ALERT, 0),
        "others": kinds.total(),
    }
