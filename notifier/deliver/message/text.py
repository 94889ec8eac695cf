"""Text that people typed, made fit to stand literally in a message, and the pieces a line is made of."""

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
    """Mark what is to stand out."""
    return f"{_BOLD}{str(text).strip()}{_END}"


def code(text: object) -> str:
    """Mark what can be copied as a command."""
    return f"{_CODE}{str(text).strip()}{_END}"


def spans(marked: str) -> Line:
    """Take marked text apart. The marks are control characters, so that nothing that `literal` made can hold one."""
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
    """Make of whatever a template gives one line that is valid anywhere and disturbs nothing around it.

    Marks stay. What shows nothing at all becomes "".
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
    """Make a field's value at most `width` code points of text that cannot disturb what stands around it.

    No control characters, no lone surrogates (no JSON may hold them), white space collapsed, text that runs from
    right to left isolated (those two marks come on top of `width`). What shows nothing at all becomes "".
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
    """Write a `YYYY-MM-DD` as `27 Feb 2020`, in English whatever the system's language; other values as they are."""
    try:
        moment = date.fromisoformat(value)
    except (TypeError, ValueError):
        return literal(value, width)
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}"
