"""Makes text that people typed safe to show in a message, and splits lines into styled pieces."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_SURROGATES = re.compile("[\ud800-\udfff]")
_DIRECTION_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_CONTROLS = re.compile("[\u0000-\u001f\u007f-\u009f]")
_OTHER_DIRECTION_CONTROLS = re.compile("[\u202a-\u202e\u2066\u2067]")
_BOLD, _CODE, _END = "\u0001", "\u0002", "\u0003"
_MARK = re.compile(f"([{_BOLD}{_CODE}{_END}])")
_STYLES = {_BOLD: "bold", _CODE: "code"}
_UNMARKING_CONTROLS = re.compile("[\u0000\u0004-\u001f\u007f-\u009f]")
_RIGHT_TO_LEFT = {"R", "AL", "AN"}
_FAR_ENOUGH = 2000
_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line in one style (`bold`, `code` or none); its text is literal."""

    text: str
    style: str | None = None


Line = tuple[Span, ...]


def bold(text: object) -> str:
    """Return text marked as bold."""
    return f"{_BOLD}{str(text).strip()}{_END}"


def code(text: object) -> str:
    """Return text marked as code, for a command that people can copy."""
    return f"{_CODE}{str(text).strip()}{_END}"


def spans(marked: str) -> Line:
    """Split marked text into spans. The marks are control characters, which `literal` removes from all values."""
    style = None
    found = []
    for piece in _MARK.split(marked):
        match piece:
            case "":
                continue
            case mark if _MARK.fullmatch(mark):
                style = _STYLES.get(mark)
            case text:
                found.append(Span(text, style))
    return tuple(found)


def tidy(marked: str) -> str:
    """Turn a template's output into one line that is valid text and cannot affect the text around it.

    Marks are kept. Text without any visible character becomes "".
    """
    text = _OTHER_DIRECTION_CONTROLS.sub("", _SURROGATES.sub("\ufffd", marked))
    if text.count(_ISOLATE) != text.count(_POP_ISOLATE):
        text = _DIRECTION_CONTROLS.sub("", text)
    text = " ".join(_UNMARKING_CONTROLS.sub(" ", text).split())
    return text if any(char.isprintable() and char != " " for char in text) else ""


def plain_text(line: Iterable[Span]) -> str:
    """Return a line without its styles."""
    return "".join(span.text for span in line)


def literal(value: Any, width: int) -> str:
    """Return a field's value as text of at most `width` code points that cannot affect the text around it.

    Control characters and lone surrogates (which JSON must not contain) are replaced, and white space is collapsed.
    Right-to-left text is isolated by two marks, which do not count towards `width`. Text without any visible character
    becomes "".
    """
    text = "" if value is None else str(value)[:_FAR_ENOUGH]
    text = _DIRECTION_CONTROLS.sub("", _SURROGATES.sub("\ufffd", text))
    text = " ".join(_CONTROLS.sub(" ", text).split())
    if not any(char.isprintable() for char in text):
        return ""
    if len(text) > width:
        text = text[: width - 1] + "…"
    if any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in text):
        return f"{_ISOLATE}{text}{_POP_ISOLATE}"
    return text


def day(value: Any, width: int) -> str:
    """Return a date `YYYY-MM-DD` as `27 Feb 2020`, always in English; any other value as `literal` returns it."""
    try:
        moment = date.fromisoformat(value)
    except (TypeError, ValueError):
        return literal(value, width)
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}"
