"""What a message to people says, from top to bottom: a quiet line, up to ten lines under a heading, or a digest.

What the lines say, templates decide. Nothing here knows a service: rows are pieces of literal text, which each
destination type writes in its own notation. Whatever stands in the events, and whatever the templates make of it,
the result is within the limits that a type tells.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from notifier.completions import Event, EventType
from notifier.deliver.message.text import Line, plain_text, spans
from notifier.deliver.message.words import Content, Template, Variables, Words, notice, read, session_of, words

if TYPE_CHECKING:
    from notifier.deliver.message.templates import Templates

LINES: Final = 10
"""Events that get a line each in one message; more become a digest, unless all are of one group session."""

WIDTHS: Final = (200, 100, 60, 40, 25, 15, 8)
"""Code points that names may take, from generous to what fits whatever the other fields hold."""

_DIGEST_WIDTHS: Final = WIDTHS[2:]
_TOP_TRAININGS: Final = 10
_SOME_NAMES: Final = 8
_SOME_NOTICES: Final = 3

_TEMPLATE_OF: Final[Mapping[str, Template]] = {
    EventType.CREATED: Template.COMPLETED,
    EventType.UPDATED: Template.CHANGED,
    EventType.REMOVED: Template.REMOVED,
}
_SHARED: Final = ("expires", "expires_on", "instructor", "notes")
"""What the people of a group session may have in common besides training and date."""

_ITEM: Final = "- "
"""What makes a digest's line an item of a list."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a message: a line of text, an item of a list (`depth` 0), or one that belongs to such an item (1)."""

    line: Line
    depth: int | None = None

    @property
    def text(self) -> str:
        """The row as plain text."""
        return ("" if self.depth is None else f"{'    ' * self.depth}• ") + plain_text(self.line)


Layout = tuple[Row, ...]
"""What a message says, from top to bottom."""

Fits = Callable[[Layout], bool]
"""Tells whether a layout (at least one row, none of them empty) is within what a service takes in a message."""


def lay_out(events: Sequence[Event], templates: "Templates", *, digest: bool, fits: Fits) -> Layout:
    """Say `events` (at least one) in one message.

    A digest says how many, of what, and where to see each; otherwise every event is in the message, LINES of them at
    most unless all are of one group session. Names are cut as short as the service's limits, which `fits` knows,
    demand, and no shorter. What no cut makes fit becomes a digest.
    """
    contents = [read(event) for event in events]
    layout = _fitting(contents, templates, fits, digest=digest)
    if layout is None and templates.shipped is not None:
        layout = _fitting(contents, templates.shipped, fits, digest=digest)
        if layout is not None:
            templates.report("gives more than there is room for in a message, however short names are cut")
    if layout is None and not digest:
        return lay_out(events, templates, digest=True, fits=fits)
    return layout or _digest(contents, templates.shipped or templates, _DIGEST_WIDTHS[-1])


def is_one_session(events: Sequence[Event]) -> bool:
    """Tell whether all of `events` are of one group session."""
    sessions = set(map(session_of, events))
    return len(sessions) == 1 and None not in sessions


def _fitting(contents: Sequence[Content], templates: "Templates", fits: Fits, *, digest: bool) -> Layout | None:
    """Say every event, or how many there are, with names as long as fit; None when even the shortest do not."""
    say, widths = (_digest, _DIGEST_WIDTHS) if digest else (_each, WIDTHS)
    layouts = (say(contents, templates, width) for width in widths)
    return next((layout for layout in layouts if layout and fits(layout)), None)


def _each(contents: Sequence[Content], templates: "Templates", width: int) -> Layout:
    """Say every event: alone, as the people of one group session, or as items under a count."""
    parts = list(_parts(contents, templates, width))
    if len(parts) == 1:
        (heading, *people) = parts[0]
        return (Row(heading), *(Row(person, 0) for person in people))
    rows = [Row(templates.line(Template.HEADING, _counts(contents)))]
    for heading, *people in parts:
        rows += [Row(heading, 0), *(Row(person, 1) for person in people)]
    return tuple(rows)


def _parts(contents: Iterable[Content], templates: "Templates", width: int) -> Iterator[list[Line]]:
    """Yield each event's line, in order; a group session's lines together where its first event stands."""
    said = [content if _is_notice(content) else words(content, width) for content in contents]
    sessions: dict[tuple[str, ...], list[Words]] = {}
    for item in said:
        if isinstance(item, Words) and item.session is not None:
            sessions.setdefault(item.session, []).append(item)
    for item in said:
        match item:
            case Content():
                yield [templates.line(Template.NOTICE, notice(item, width))]
            case Words(session=session) if session is not None and len(sessions.get(session, ())) != 1:
                if members := sessions.pop(session, None):
                    yield list(_session(members, templates))
            case Words(variables=variables):
                template = _TEMPLATE_OF.get(item.type, Template.OTHER)
                yield [templates.line(template, variables)]


def _session(members: Sequence[Words], templates: "Templates") -> Iterator[Line]:
    """Say a group session: what its people have in common first, then each of them with what differs."""
    first = members[0].variables
    shared = {name for name in _SHARED if all(member.variables[name] == first[name] for member in members)}
    own = {"person", "user_id", "key"}
    common = {name: "" if name in _SHARED and name not in shared else text for name, text in first.items()}
    heading = {name: text for name, text in common.items() if name not in own}
    yield templates.line(Template.SESSION, {**heading, "people": len(members)})
    for member in members:
        yield templates.line(Template.MEMBER, {**member.variables, **dict.fromkeys(shared, "")})


def _digest(contents: Sequence[Content], templates: "Templates", width: int) -> Layout:
    """Say how many events there are, of which trainings, some of the people, and how to see each of them."""
    notices = [notice(content, width) for content in contents if _is_notice(content)]
    said = [words(content, width) for content in contents if not _is_notice(content)]
    titles = {item.training: item.variables["training"] for item in said}
    trainings = Counter(item.training for item in said).most_common()
    people = list({item.person: item.variables["person"] for item in said}.values())
    lines = templates.lines(
        Template.DIGEST,
        {
            "heading": templates.marked(Template.HEADING, _counts(contents)),
            "notices": [templates.marked(Template.NOTICE, item) for item in notices[-_SOME_NOTICES:]],
            "trainings": [{"title": titles[key], "count": count} for key, count in trainings[:_TOP_TRAININGS]],
            "more_trainings": len(trainings[_TOP_TRAININGS:]),
            "more_events": sum(count for _, count in trainings[_TOP_TRAININGS:]),
            "people": people[:_SOME_NAMES],
            "more_people": len(people[_SOME_NAMES:]),
            "command": f"notifier events --after {min(content.event.sequence for content in contents) - 1}",
        },
    )
    rows = (Row(spans(line.removeprefix(_ITEM)), 0) if line.startswith(_ITEM) else Row(spans(line)) for line in lines)
    return tuple(row for row in rows if row.line)


def _is_notice(content: Content) -> bool:
    return content.event.type == EventType.ALERT


def _counts(contents: Iterable[Content]) -> Variables:
    """Count what there is."""
    kinds = Counter(content.event.type for content in contents)
    return {
        "completed": kinds.pop(EventType.CREATED, 0),
        "changed": kinds.pop(EventType.UPDATED, 0),
        "removed": kinds.pop(EventType.REMOVED, 0),
        "notices": kinds.pop(EventType.ALERT, 0),
        "others": kinds.total(),
    }
