"""The log: one line per thing that happened, as text for people, with priorities for the journal, or as JSON.

The standard library's logging with three small formatters: what a structured-logging package would add to the
memory and the start of a daemon that writes a few lines a day is more than these take.
"""

import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson

from notifier.redact import redact
from notifier.repeats import Repeats

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_JOURNAL_PRIORITY: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
_COLOUR: Final = {
    logging.DEBUG: "2",
    logging.INFO: "32",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "31",
}


def set_up(level: str, log_format: str, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Send this program's log to `stream`, by default standard error.

    `level` is debug, info, warning, error or critical; `log_format` is auto, text or json. What repeats is left out
    after a while, unless everything is wanted, for debugging.
    """
    stream = sys.stderr if stream is None else stream
    handler = _Handler(stream)
    handler.setFormatter(_formatter(log_format, stream, environ))
    if level != "debug":
        handler.addFilter(Repeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("notifier").setLevel(level.upper())
    # The schedule reports what the scheduler tells it, in this program's words.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL + 1)


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's interface
        """Say nothing: what cannot be written to the log has no other place, and the library would show it as it is."""


def _formatter(log_format: str, stream: TextIO, environ: Mapping[str, str]) -> logging.Formatter:
    if log_format == "json":
        return JsonFormatter()
    if log_format == "auto" and "JOURNAL_STREAM" in environ and not stream.isatty():
        return JournalFormatter()
    watched = stream.isatty()
    return TextFormatter(colours=watched and "NO_COLOR" not in environ, dated=not watched)


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was passed as `extra`, without what is empty."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD and value not in (None, "")}


class TextFormatter(logging.Formatter):
    """`12:00:00 warning  destination fails  destination=hr reason=timeout`: for a terminal, or a file."""

    def __init__(self, *, colours: bool, dated: bool = False) -> None:
        """Say whether the level is coloured, and whether the day stands before the time, as in a file it must."""
        super().__init__()
        self._colours = colours
        self._moment = "%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        """Write one line, and a traceback below it where there is one."""
        moment = datetime.fromtimestamp(record.created).astimezone().strftime(self._moment)
        level = f"{record.levelname.lower():<8}"
        if self._colours:
            level = f"\x1b[{_COLOUR.get(record.levelno, '0')}m{level}\x1b[0m"
        return "\n".join([f"{moment} {level} {_sentence(record)}", *_trace(self, record)])


class JournalFormatter(logging.Formatter):
    """`<4>destination fails ...`: the journal adds the time and reads the priority."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one entry; every line of it bears the priority, or the journal would split it."""
        prefix = f"<{_JOURNAL_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in [_sentence(record), *_trace(self, record)])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `message`, and the facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry: dict[str, Any] = {
            "time": moment,
            "level": record.levelname.lower(),
            "message": _clean(record.getMessage()),
        }
        entry |= {
            name: value if isinstance(value, bool | int | float) else _clean(str(value))
            for name, value in facts_of(record).items()
        }
        if trace := _trace(self, record):
            entry["trace"] = "\n".join(trace)
        return orjson.dumps(entry).decode()


def _sentence(record: logging.LogRecord) -> str:
    facts = " ".join(f"{name}={_shown(value)}" for name, value in facts_of(record).items())
    return _line(f"{record.getMessage()}  {facts}".rstrip())


def _shown(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(character.isspace() for character in text) else text


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    return [_line(line) for line in formatter.formatException(record.exc_info).splitlines()] if record.exc_info else []


def _line(text: str) -> str:
    """Make text fit for one line of a terminal: what would move the cursor becomes a blank."""
    return "".join(character if character.isprintable() else " " for character in _clean(text))


def _clean(text: str) -> str:
    """Hide secrets, and write what cannot be encoded, such as a file name's stray bytes, as escapes."""
    return redact(text).encode(errors="backslashreplace").decode()
