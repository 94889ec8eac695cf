"""What a message to people says, from top to bottom: a quiet line, up to ten lines under a heading, or a digest.

Nothing here knows a service. Lines are pieces of literal text; each service writes them in its own notation.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from notifier.completions import Event, EventType
from notifier.deliver.message.layout import Layout, Row
from notifier.deliver.message.text import Line, Span
from notifier.deliver.message.words import Content, Variables, Words, notice, read, words

LINES = 10
"""Events that get a line each in one message; more become a digest."""

WIDTHS = (200, 100, 60, 40, 25, 15, 8)
"""Code points that names may take, from generous to what fits whatever the other fields hold."""

_DIGEST_WIDTH = 60
_TOP_TRAININGS = 10
_SOME_NAMES = 8
_SOME_NOTICES = 3
_SEPARATOR = " · "


def lay_out(events: Sequence[Event], *, digest: bool, fits: Callable[[Layout], bool]) -> Layout:
    """Say `events` (at least one; at most LINES unless `digest`) in one message.

    A digest says how many, of what, and where to see each; otherwise every event is in the message. Names are cut
    as short as the service's limits, which `fits` knows, demand, and no shorter.
    """
    contents = [read(event) for event in events]
    if digest:
        return _digest(contents)
    for width in WIDTHS:
        layout = _each(contents, width)
        if fits(layout):
            break
    return layout


def _each(contents: Sequence[Content], width: int) -> Layout:
    """Say every event: alone, as the people of one group session, or as lines under a count."""
    parts = list(_parts(contents, width))
    if len(parts) == 1:
        (heading, *people) = parts[0]
        return (replace(heading, depth=None), *(replace(person, depth=0) for person in people))
    return (Row((_bold(_counts(contents)),)), *(row for part in parts for row in part))


def _parts(contents: Iterable[Content], width: int) -> Iterator[list[Row]]:
    """Yield each event's row, in order; a group session's rows together where its first event stands."""
    said = [(content, words(content, width)) for content in contents]
    sizes = Counter(item.session for _, item in said if item.session)
    told = set()
    for content, item in said:
        if _is_notice(content):
            yield [Row(_notice(content, width), 0)]
        elif item.session is None or sizes[item.session] == 1:
            yield [Row(_line(content, item.variables), 0)]
        elif item.session not in told:
            told.add(item.session)
            yield list(_session([other.variables for _, other in said if other.session == item.session]))


def _line(content: Content, said: Variables) -> Line:
    """Say one completion by itself, in one line."""
    date = f" on {said['completed']}" if said["completed"] else ""
    match content.event.type:
        case EventType.CREATED:
            rest = f" completed {said['training']}{date}{_tail(*_details(said))}"
        case EventType.UPDATED:
            changes = ", ".join(
                f"{change['what']} {change['old'] or 'none'} → {change['new'] or 'none'}" for change in said["changes"]
            )
            rest = f"{_SEPARATOR}{said['training']}{date} was changed{': ' if changes else ''}{changes}"
        case EventType.REMOVED:
            rest = f"{_SEPARATOR}{said['training']}{date} was removed"
        case _:
            rest = _tail(said["training"], said["type"])
    return (_bold(said["person"]), Span(rest + _tail(_key(said))))


def _notice(content: Content, width: int) -> Line:
    """Say an operational notice in one line: its condition, whether it holds, what it is about and means."""
    said = notice(content, width)
    mark, word = ("✅", "Resolved") if said["resolved"] else ("⚠️", "Alert")
    since = f"since {said['since']}" if said["since"] else ""
    facts = _tail(said["subject"], said["summary"], since)
    return (Span(f"{mark} "), _bold(f"{word}: {said['condition']}"), Span(facts))


def _session(members: Sequence[Variables]) -> Iterator[Row]:
    """Say a group session: what its people have in common first, then each of them with what differs."""
    first = members[0]
    common = [phrase for phrase in _details(first) if all(phrase in _details(member) for member in members)]
    date = f" on {first['completed']}" if first["completed"] else ""
    facts = _tail(f"group session{date}", *common, f"{len(members)} people")
    yield Row((_bold(first["training"]), Span(facts)), 0)
    for member in members:
        own = [phrase for phrase in _details(member) if phrase not in common]
        yield Row((_bold(member["person"]), Span(_tail(*own, _key(member)))), 1)


def _details(said: Variables) -> list[str]:
    """Return the phrases after the main clause: when it expires, who taught."""
    phrases = [("expires", said["expires"]), ("instructor", said["instructor"])]
    return [f"{what} {value}" for what, value in phrases if value]


def _key(said: Variables) -> str:
    return f"#{said['key']}" if said["key"] else ""


def _tail(*phrases: str) -> str:
    return "".join(_SEPARATOR + phrase for phrase in phrases if phrase)


def _digest(contents: Sequence[Content]) -> Layout:
    """Say how many events there are, of which trainings, some of the people, and how to see each of them."""
    notices = [content for content in contents if _is_notice(content)]
    completions = [words(content, _DIGEST_WIDTH) for content in contents if not _is_notice(content)]
    items = [_notice(content, _DIGEST_WIDTH) for content in notices[-_SOME_NOTICES:]]
    items += [(Span(text),) for text in _by_training(completions)]
    people = [Row((Span(_some_people(completions)),))] if completions else []
    command = f"notifier events --after {min(content.event.sequence for content in contents) - 1}"
    last = Row((Span("Each one: "), Span(command, "code")))
    return (Row((_bold(_counts(contents)),)), *(Row(item, 0) for item in items), *people, last)


def _by_training(completions: Sequence[Words]) -> Iterator[str]:
    titles = {said.training: said.variables["training"] for said in completions}
    counts = Counter(said.training for said in completions).most_common()
    for training, count in counts[:_TOP_TRAININGS]:
        yield f"{titles[training]}: {count:,}"
    if others := counts[_TOP_TRAININGS:]:
        yield f"{_number(len(others), 'other training')}: {sum(count for _, count in others):,}"


def _some_people(completions: Iterable[Words]) -> str:
    people = list({said.person: said.variables["person"] for said in completions}.values())
    more = len(people) - _SOME_NAMES
    others = f" and {_number(more, 'other')}" if more > 0 else ""
    return f"{', '.join(people[:_SOME_NAMES])}{others}"


def _is_notice(content: Content) -> bool:
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


def _bold(text: str) -> Span:
    return Span(text, "bold")
