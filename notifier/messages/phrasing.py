"""Formats the values in messages in the language and time zone of one destination, and makes the links."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from typing import Any, Final
from urllib.parse import quote

from msgspec import Struct

from notifier.config import Settings
from notifier.config.message_values import LINK_FIELDS, Language

_MONTHS: Final[Mapping[Language, str]] = {
    Language.EN: "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    Language.ES: "ene feb mar abr may jun jul ago sep oct nov dic",
}
_WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    Language.EN: {},
    Language.ES: {
        "user ": "persona ",
        "training ": "capacitación ",
        "somebody": "alguien",
        "a training": "una capacitación",
        "yes": "sí",
        "no": "no",
        "training": "capacitación",
        "person": "persona",
        "instructor": "instructor",
        "group session": "sesión grupal",
        "completed": "fecha",
        "expires": "vencimiento",
        "recorded": "registro",
        "notes": "notas",
        "attachments": "archivos adjuntos",
        "changed": "modificado",
        "removed": "eliminado",
        "expired": "vencido",
        "renewed": "renovado",
        "renewal": "renovación",
        "until": "hasta",
        "notice": "aviso",
        "several sources": "varias fuentes",
        "several destinations": "varios destinos",
    },
}
"""Translations, by the English word, of words that messages get from code, not from templates. Others stay English."""

_MOMENT: Final = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z")


class MessageContext(Struct, frozen=True):
    """What all messages have in common: the dashboard's address ("" for none), and whether several sources exist."""

    public_url: str = ""
    has_several_sources: bool = False


def message_context(settings: Settings) -> MessageContext:
    """Return what all messages have in common under this configuration."""
    return MessageContext(settings.http.public_url, len(settings.sources) > 1)


class Phrasing(Struct, frozen=True):
    """The language, the time zone and the links of one destination's messages."""

    language: Language = Language.EN
    zone: tzinfo = UTC
    names_source: bool = False
    """Whether messages name the source of an event."""
    events_url: str = ""
    """The address of a page that lists the destination's events; "" for none."""
    link_pattern: str = ""
    """A pattern for the addresses of records; "" for none."""

    def translate(self, english: str) -> str:
        """Return the translation of an English word; the word itself if there is none."""
        return _WORDS[self.language].get(english, english)

    def format_day(self, value: date) -> str:
        """Return a date such as `27 Feb 2020`."""
        return f"{value.day} {_MONTHS[self.language].split()[value.month - 1]} {value.year}"

    def localize_times(self, text: str) -> str:
        """Replace each UTC time (RFC 3339) in `text` with local time, such as `27 Feb 2020, 10:45 CST`."""
        return _MOMENT.sub(self._local_time, text)

    def record_url(self, values: Mapping[str, Any]) -> str:
        """Return the address of a record with these values; "" without a pattern, or if a needed value is missing."""
        if not self.link_pattern:
            return ""
        known = {name: quote(str(values[name]), safe="", errors="replace") for name in LINK_FIELDS if values.get(name)}
        try:
            return self.link_pattern.format_map(known)
        except KeyError:
            return ""

    def _local_time(self, found: re.Match[str]) -> str:
        try:
            moment = datetime.fromisoformat(found[1]).replace(tzinfo=UTC).astimezone(self.zone)
        except (ValueError, OverflowError):
            return found[0]
        return f"{self.format_day(moment)}, {moment:%H:%M} {moment:%Z}"


PLAIN: Final = Phrasing()
"""English, in UTC, without links."""
