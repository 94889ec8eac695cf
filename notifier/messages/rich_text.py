"""Makes text that people have typed safe to show in a message, and splits lines into spans with a style."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

_SURROGATES = re.compile("[\ud800-\udfff]")
_DIRECTION_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_CONTROLS = re.compile("[\u0000-\u001f\u007f-\u009f]")
_DIRECTION_CONTROLS_EXCEPT_ISOLATES = re.compile("[\u202a-\u202e\u2066\u2067]")
_BOLD, _CODE, _END, _LINK, _LINK_TEXT = "\u0001", "\u0002", "\u0003", "\u0004", "\u0005"
_MARK = re.compile(f"([{_BOLD}{_CODE}{_END}])")
_MARKED_LINK = re.compile(f"{_LINK}([^{_LINK_TEXT}]*){_LINK_TEXT}([^{_LINK}{_LINK_TEXT}]*?){_LINK}{_END}")
_LINK_MARKS = re.compile(f"[{_LINK}{_LINK_TEXT}]")
_STYLES = {_BOLD: "bold", _CODE: "code"}
_CONTROLS_EXCEPT_MARKS = re.compile("[\u0000\u0006-\u001f\u007f-\u009f]")
_RIGHT_TO_LEFT = {"R", "AL", "AN"}
_MAX_CHARACTERS_READ = 2000
_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"


class Span(Struct, frozen=True):
    """A piece of a line in one style (`bold`, `code` or none). The text is literal; `url` is the target of a link."""

    text: str
    style: str | None = None
    url: str | None = None


Line = tuple[Span, ...]


def bold(text: object) -> str:
    """Return text marked as bold."""
    return f"{_BOLD}{str(text).strip()}{_END}"


def code(text: object) -> str:
    """Return text marked as code, for a command that people can copy."""
    return f"{_CODE}{str(text).strip()}{_END}"


def linked(text: object, url: str) -> str:
    """Return text marked as a link; unmarked text if the URL is empty."""
    return f"{_LINK}{url}{_LINK_TEXT}{str(text).strip()}{_LINK}{_END}" if url else str(text)


def parse_spans(marked: str) -> Line:
    """Split text with marks into spans.

    A mark is a control character. Values cannot contain marks, because `sanitize` replaces control characters.
    """
    found: list[Span] = []
    begin = 0
    for link in _MARKED_LINK.finditer(marked):
        found += _parse_styles(marked[begin : link.start()])
        found += [replace(span, url=link[1]) for span in _parse_styles(link[2])]
        begin = link.end()
    return (*found, *_parse_styles(marked[begin:]))


def _parse_styles(marked: str) -> list[Span]:
    style = None
    found = []
    for piece in _MARK.split(marked):
        match piece:
            case mark if _MARK.fullmatch(mark):
                style = _STYLES.get(mark)
            case text if plain := _LINK_MARKS.sub("", text):
                found.append(Span(plain, style))
    return found


def sanitize_line(marked: str) -> str:
    """Return a template's output as one line of valid text that cannot change the direction of other text.

    Marks are kept. Output without any visible character becomes "".
    """
    text = _DIRECTION_CONTROLS_EXCEPT_ISOLATES.sub("", _SURROGATES.sub("\ufffd", marked))
    if text.count(_ISOLATE) != text.count(_POP_ISOLATE):
        text = _DIRECTION_CONTROLS.sub("", text)
    text = " ".join(_CONTROLS_EXCEPT_MARKS.sub(" ", text).split())
    return text if any(char.isprintable() and char != " " for char in text) else ""


def plain_text(line: Iterable[Span], *, with_urls: bool = False) -> str:
    """Return a line as plain text. With `with_urls`, each link's address follows in brackets."""
    return "".join(f"{span.text} ({span.url})" if with_urls and span.url else span.text for span in line)


def sanitize(value: Any, width: int) -> str:
    """Return a field's value as one line of safe text of at most `width` code points.

    Control characters and lone surrogates are replaced, and white space is collapsed. Two isolating marks around
    right-to-left text protect the direction of other text; they do not count towards `width`. Text without any visible
    character becomes "".
    """
    text = "" if value is None else str(value)[:_MAX_CHARACTERS_READ]
    text = _DIRECTION_CONTROLS.sub("", _SURROGATES.sub("\ufffd", text))
    text = " ".join(_CONTROLS.sub(" ", text).split())
    if not any(char.isprintable() for char in text):
        return ""
    if len(text) > width:
        text = text[: width - 1] + "…"
    if any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in text):
        return f"{_ISOLATE}{text}{_POP_ISOLATE}"
    return text
