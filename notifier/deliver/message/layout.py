"""The layout of a Slack message, in Block Kit: a quiet line, up to ten lines under a heading, or a digest.

What the lines say, templates decide. Everything is one `rich_text` block, whose text Slack takes literally: names
cannot turn into formatting, links or mentions. Whatever stands in the events, and whatever the templates make of it,
the result keeps Slack's limits.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any, Final

import orjson

from notifier.completions import Event, EventType
from notifier.deliver.message.text import Line, Span, escape, plain_text, spans
from notifier.deliver.message.words import Content, Template, Variables, Words, notice, read, session_of, words

if TYPE_CHECKING:
    from notifier.deliver.message.templates import Templates

LINES: Final = 10
"""Events that get a line each in one message; more become a digest, unless all are of one group session."""

BLOCKS_LIMIT: Final = 12_900
"""Bytes of all blocks' JSON. Slack documents no limit; in the field it refused about 13,200 characters."""

TEXT_LIMIT: Final = 3_000
"""Characters of one piece of text (Slack's documentation of Block Kit)."""

FALLBACK_LIMIT: Final = 4_000
"""Characters of the fallback text, before escapes (Slack's advice for `text`)."""

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


def lay_out(events: Sequence[Event], templates: "Templates", *, digest: bool) -> Layout:
    """Say `events` (at least one) in one message.

    A digest says how many, of what, and where to see each; otherwise every event is in the message, LINES of them at
    most unless all are of one group session. Names are cut as short as Slack's limits demand, and no shorter. What no
    cut makes fit becomes a digest.
    """
    contents = [read(event) for event in events]
    layout = _fitting(contents, templates, digest=digest)
    if layout is None and templates.shipped is not None:
        templates.report("gives more than Slack takes in a message, however short names are cut")
        layout = _fitting(contents, templates.shipped, digest=digest)
    return layout or _digest(contents, templates.shipped or templates, _DIGEST_WIDTHS[-1])


def body(layout: Layout) -> bytes:
    """Write the body of one request to Slack."""
    # `mrkdwn: false` makes the fallback text literal too, but for the three characters that `escape` disarms.
    return orjson.dumps({"text": escape(_fallback(layout)), "mrkdwn": False, "blocks": _blocks(layout)})


def is_one_session(events: Sequence[Event]) -> bool:
    """Tell whether all of `events` are of one group session."""
    sessions = set(map(session_of, events))
    return len(sessions) == 1 and None not in sessions


def _fitting(contents: Sequence[Content], templates: "Templates", *, digest: bool) -> Layout | None:
    """Say every event, or how many there are, with names as long as fit; None when even the shortest do not."""
    say, widths = (_digest, _DIGEST_WIDTHS) if digest else (_each, WIDTHS)
    layouts = (say(contents, templates, width) for width in widths)
    return next(filter(_fits, layouts), None)


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


def _fits(layout: Layout) -> bool:
    if not layout:
        return False
    longest = max(len(span.text) for row in layout for span in row.line)
    return longest <= TEXT_LIMIT and len(orjson.dumps(_blocks(layout))) <= BLOCKS_LIMIT


def _blocks(layout: Layout) -> list[dict[str, Any]]:
    elements = []
    for depth, rows in groupby(layout, key=lambda row: row.depth):
        lines = [row.line for row in rows]
        if depth is None:
            elements.append(_section(_joined(lines)))
        else:
            items = [_section(line) for line in lines]
            elements.append({"type": "rich_text_list", "style": "bullet", "indent": depth, "elements": items})
    return [{"type": "rich_text", "elements": elements}]


def _joined(lines: Sequence[Line]) -> Line:
    """Put lines under each other in one piece of text."""
    first, *others = lines
    return (*first, *(span for line in others for span in (Span("\n"), *line)))


def _section(line: Line) -> dict[str, Any]:
    return {"type": "rich_text_section", "elements": [_element(span) for span in line]}


def _element(span: Span) -> dict[str, Any]:
    element: dict[str, Any] = {"type": "text", "text": span.text}
    return element if span.style is None else element | {"style": {span.style: True}}


def _fallback(layout: Layout) -> str:
    """Write the message as plain text, for notifications and screen readers; no more lines than anyone listens to."""
    lines = [layout[0].text[:FALLBACK_LIMIT], *(row.text for row in layout[1:])]
    lengths = accumulate(map(len, lines))
    return "\n".join(text for text, length in zip(lines, lengths, strict=True) if length <= FALLBACK_LIMIT)
