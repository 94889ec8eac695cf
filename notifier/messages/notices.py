"""Turns an alert into the variables of the template `notice`."""

from collections.abc import Mapping
from typing import Any, Final

from notifier.messages.phrasing import PLAIN, Phrasing
from notifier.messages.rich_text import code, sanitize
from notifier.wording.sentences import catalogue_text, render_document

_TIME_WIDTH: Final = 40

_KINDS: Final = ("sources", "destinations")
_OWN_SUBJECTS: Final = ("store", "clock", "alerts", "heartbeat", "configuration", "interface", "process")
"""Subjects that are parts of the notifier. Messages leave them out, because the condition's title names the part."""


def alert_variables(data: Mapping[str, Any], width: int, phrasing: Phrasing = PLAIN) -> dict[str, Any]:
    """Return the template variables for an alert with this data. Texts are cut to a small multiple of `width`."""
    subjects = data.get("subjects")
    several = isinstance(subjects, list) and len(subjects) > 1
    # The summary needs more room if it names several sources or destinations with the same problem.
    times = 16 if several else 4
    condition, subject = sanitize(data.get("condition"), width), sanitize(data.get("subject"), width)
    kind, _, name = subject.partition("/")
    if several and kind in _KINDS:
        name = phrasing.translate(f"several {kind}")
    elif kind not in _KINDS:
        name = "" if subject in _OWN_SUBJECTS else subject
    summary = _mark_code(sanitize(phrasing.localize_times(_sentence(data, "summary", phrasing)), times * width))
    # The message already begins with the name.
    details = summary.removeprefix(f"{name}: ") if name else summary
    remedy = _mark_code(sanitize(_sentence(data, "remedy", phrasing), 4 * width))
    since = sanitize(phrasing.localize_times(_text(data.get("since"))), _TIME_WIDTH)
    is_resolved = data.get("state") == "resolved"
    # Some summaries end with the same advice.
    advice = "" if not remedy or remedy in summary or is_resolved else remedy
    return {
        "withdrawn": data.get("state") == "withdrawn",
        "resolved": is_resolved,
        "condition": condition.replace("_", " ") or phrasing.translate("notice"),
        "subject": subject,
        "summary": summary,
        "since": "" if since in summary and not is_resolved else since,
        "title": _title(condition, phrasing),
        "name": name,
        "details": (details[:1].upper() + details[1:]).removesuffix("."),
        "remedy": advice,
    }


def _title(condition: str, phrasing: Phrasing) -> str:
    known = catalogue_text(f"{condition}.title", phrasing.language)
    return known or condition.replace("_", " ") or phrasing.translate("notice")


def _sentence(data: Mapping[str, Any], name: str, phrasing: Phrasing) -> str:
    """Return an alert's summary or remedy (`name`) in the message's language, or in English if it is not translated."""
    texts = data.get("texts")
    part = texts.get(name) if isinstance(texts, dict) else None
    translated = render_document(part, phrasing.language) if isinstance(part, dict) else None
    return translated or _text(data.get(name))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _mark_code(text: str) -> str:
    """Mark each piece of text between two backticks as code, and remove the backticks."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return text.replace("`", "'")
    return "".join(code(part) if place % 2 and part else part for place, part in enumerate(parts))
