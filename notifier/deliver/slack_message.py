"""The layout of a Slack message, in Block Kit: a quiet line, up to ten lines under a heading, or a digest.

Everything is one `rich_text` block, whose text Slack takes literally: names cannot turn into formatting, links or
mentions. Whatever stands in the events, the result keeps Slack's limits.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import orjson

from notifier.completions import Event, EventType
from notifier.deliver.slack_text import Line, Span, bold, code, escape, plain_text
from notifier.deliver.slack_words import Content, Words, alert_line, line, read, tail, words

LINES = 10
"""Events that get a line each in one message; more become a digest."""

BLOCKS_LIMIT = 12_900
"""Bytes of all blocks' JSON. Slack documents no limit; in the field it refused about 13,200 characters."""

TEXT_LIMIT = 3_000
"""Characters of one piece of text (Slack's documentation of Block Kit)."""

FALLBACK_LIMIT = 4_000
"""Characters of the fallback text, before escapes (Slack's advice for `text`)."""

WIDTHS = (200, 100, 60, 40, 25, 15, 8)
"""Code points that names may take, from generous to what fits whatever the other fields hold."""

_DIGEST_WIDTH = 60
_TOP_TRAININGS = 10
_SOME_NAMES = 8
_SOME_ALERTS = 3


@dataclass(frozen=True, slots=True)
class Bullet:
    """A line of a list; `depth` 1 belongs to the line of depth 0 above it."""

    line: Line
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """What a message says, from top to bottom."""

    heading: Line
    bullets: tuple[Bullet, ...] = ()
    footer: Line = ()


def message(events: Sequence[Event], *, digest: bool) -> bytes:
    """Write the body of one request to Slack about `events` (at least one; at most LINES unless `digest`).

    A digest says how many, of what, and where to see each; otherwise every event is in the message. Names are cut
    as short as Slack's limits demand, and no shorter.
    """
    contents = [read(event) for event in events]
    layout = _digest(contents) if digest else _widest(contents)
    # `mrkdwn: false` makes the fallback text literal too, but for the three characters that `escape` disarms.
    return orjson.dumps({"text": escape(_fallback(layout)), "mrkdwn": False, "blocks": _blocks(layout)})


def _widest(contents: Sequence[Content]) -> Layout:
    """Say every event with names as long as fit."""
    for width in WIDTHS:
        layout = _each(contents, width)
        if _fits(layout):
            break
    return layout


def _each(contents: Sequence[Content], width: int) -> Layout:
    """Say every event: alone, as the people of one group session, or as lines under a count."""
    parts = list(_parts(contents, width))
    if len(parts) == 1:
        (heading, *bullets) = parts[0]
        return Layout(heading.line, tuple(Bullet(bullet.line) for bullet in bullets))
    return Layout((bold(_counts(contents)),), tuple(bullet for part in parts for bullet in part))


def _parts(contents: Iterable[Content], width: int) -> Iterator[list[Bullet]]:
    """Yield each event's line, in order; a group session's events together where the first one stands."""
    said = [alert_line(content, width) if _is_alert(content) else words(content, width) for content in contents]
    sizes = Counter(item.session for item in said if isinstance(item, Words) and item.session)
    told = set()
    for item in said:
        match item:
            case Words(session=session) if session is not None and sizes[session] > 1:
                if session not in told:
                    told.add(session)
                    yield _session([other for other in said if isinstance(other, Words) and other.session == session])
            case Words():
                yield [Bullet(line(item))]
            case _:
                yield [Bullet(item)]


def _session(members: Sequence[Words]) -> list[Bullet]:
    """Say a group session: what its people have in common first, then each of them with what differs."""
    first = members[0]
    common = [phrase for phrase in first.details if all(phrase in member.details for member in members)]
    date = f" on {first.completed}" if first.completed else ""
    facts = " · ".join([f" · group session{date}", *common, f"{len(members)} people"])
    people = (
        (bold(member.person), Span(tail(member, [phrase for phrase in member.details if phrase not in common])))
        for member in members
    )
    return [Bullet((bold(first.training), Span(facts))), *(Bullet(person, depth=1) for person in people)]


def _digest(contents: Sequence[Content]) -> Layout:
    """Say how many events there are, of which trainings, some of the people, and how to see each of them."""
    alerts = [content for content in contents if _is_alert(content)]
    completions = [words(content, _DIGEST_WIDTH) for content in contents if not _is_alert(content)]
    bullets = [alert_line(alert, _DIGEST_WIDTH) for alert in alerts[-_SOME_ALERTS:]]
    bullets += [(Span(text),) for text in _by_training(completions)]
    command = code(f"notifier events --after {min(content.event.sequence for content in contents) - 1}")
    footer = (Span(_some_people(completions)), Span("Each one: "), command)
    return Layout((bold(_counts(contents)),), tuple(map(Bullet, bullets)), footer)


def _by_training(completions: Sequence[Words]) -> Iterator[str]:
    titles = {said.training_id: said.training for said in completions}
    counts = Counter(said.training_id for said in completions).most_common()
    for training_id, count in counts[:_TOP_TRAININGS]:
        yield f"{titles[training_id]}: {count:,}"
    if others := counts[_TOP_TRAININGS:]:
        yield f"{_number(len(others), 'other training')}: {sum(count for _, count in others):,}"


def _some_people(completions: Iterable[Words]) -> str:
    people = list({said.user_id: said.person for said in completions}.values())
    if not people:
        return ""
    more = len(people) - _SOME_NAMES
    others = f" and {_number(more, 'other')}" if more > 0 else ""
    return f"{', '.join(people[:_SOME_NAMES])}{others}\n"


def _is_alert(content: Content) -> bool:
    return content.event.type == EventType.ALERT


def _counts(contents: Iterable[Content]) -> str:
    """Say how many of what there are: `12 trainings completed, 1 record changed`."""
    kinds = Counter(content.event.type for content in contents)
    counts = [
        (kinds.pop(EventType.CREATED, 0), "training", " completed"),
        (kinds.pop(EventType.UPDATED, 0), "record", " changed"),
        (kinds.pop(EventType.REMOVED, 0), "record", " removed"),
        (kinds.pop(EventType.ALERT, 0), "notice", ""),
        (kinds.total(), "other event", ""),
    ]
    return ", ".join(_number(count, noun) + verb for count, noun, verb in counts if count)


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _fits(layout: Layout) -> bool:
    lines = (layout.heading, *(bullet.line for bullet in layout.bullets))
    longest = max(len(span.text) for spans in lines for span in spans)
    return longest <= TEXT_LIMIT and len(orjson.dumps(_blocks(layout))) <= BLOCKS_LIMIT


def _blocks(layout: Layout) -> list[dict[str, Any]]:
    elements = [_section(layout.heading)]
    for depth, bullets in groupby(layout.bullets, key=lambda bullet: bullet.depth):
        items = [_section(bullet.line) for bullet in bullets]
        elements.append({"type": "rich_text_list", "style": "bullet", "indent": depth, "elements": items})
    if layout.footer:
        elements.append(_section(layout.footer))
    return [{"type": "rich_text", "elements": elements}]


def _section(spans: Line) -> dict[str, Any]:
    return {"type": "rich_text_section", "elements": [_element(span) for span in spans if span.text]}


def _element(span: Span) -> dict[str, Any]:
    element: dict[str, Any] = {"type": "text", "text": span.text}
    return element if span.style is None else element | {"style": {span.style: True}}


def _fallback(layout: Layout) -> str:
    """Write the message as plain text, for notifications and screen readers; no more lines than anyone listens to."""
    lines = [plain_text(layout.heading)]
    lines += [f"{'    ' * bullet.depth}• {plain_text(bullet.line)}" for bullet in layout.bullets]
    lines.append(plain_text(layout.footer))
    lengths = accumulate(map(len, lines))
    kept = [text for text, length in zip(lines, lengths, strict=True) if text and length <= FALLBACK_LIMIT]
    return "\n".join(kept)
