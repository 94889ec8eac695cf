"""The log of the program, in one of three formats: text, text with priorities for the journal, or JSON.

The daemon writes through a queue (`log_queue.py`), so that a slow reader of the log cannot block it. Commands write
directly. A package for structured logging is not used, because it would need more memory and start-up time.
"""

import json
import logging
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson
from msgspec import Struct

from notifier.log_queue import LOST_LINES, FinalMessages, QueuedHandler
from notifier.redact import redact

BURST: Final = 20
"""Maximum number of lines of one kind that are written in a row. Further lines of this kind are suppressed."""

REFILL_SECONDS: Final = 3600.0
"""Seconds until one more line of a suppressed kind may be written."""

_NEVER_SUPPRESSED: Final = ("event", "record")
"""Lines with one of these `extra` fields are never suppressed, because each is about a different event or record."""

_FACTS_OF_KIND: Final = ("source", "destination", "reason", "list", "job", "condition", "subject", "key")
_MAX_KINDS: Final = 1000

_STANDARD_ATTRIBUTES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
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

_log = logging.getLogger(__name__)


def setup(
    level: str,
    log_format: str,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    queued: bool = False,
) -> None:
    """Write the log of this program to `stream`, by default standard error.

    A later call changes the settings. `level` is debug, info, warning, error or critical. `log_format` is auto, text or
    json. Lines that repeat too often are suppressed, except at level debug. If `queued` is true (for the daemon), lines
    go through a queue, and uncaught exceptions are logged.
    """
    stream = sys.stderr if stream is None else stream
    root = logging.getLogger()
    handler = _find_handler(root, stream, queued=queued)
    handler.setFormatter(_formatter(log_format, stream, environ))
    repeats = _find_repeat_filter(root)
    repeats.is_on = level != "debug"
    handler.addFilter(repeats)
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("notifier").setLevel(level.upper())
    # `Schedule` logs the scheduler's messages in this program's words.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL + 1)
    if queued:
        _log_uncaught()


def flush() -> None:
    """Wait until all queued lines are written, at most `log_queue.FLUSH_SECONDS`."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def final_stream() -> TextIO | None:
    """Return a stream for the last messages before the process ends; it writes through the queue of the log.

    Return None if the log has no queue.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, QueuedHandler):
            return FinalMessages(handler)
    return None


class RepeatFilter(logging.Filter):
    """Suppresses lines of a kind that repeats too often; a later line of that kind reports how many were suppressed.

    Lines are of one kind if they come from the same statement, and have the same level and the same `_FACTS_OF_KIND`
    (such as source and reason). Debug lines and lines about one event or record are never suppressed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_on = True
        """Whether lines that repeat are suppressed."""
        self._kinds: OrderedDict[tuple[object, ...], _Kind] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line of this log record may be written."""
        facts = vars(record)
        if not self.is_on or record.levelno < logging.INFO or any(facts.get(name) for name in _NEVER_SUPPRESSED):
            return True
        kind = self._kind(record)
        # The difference is negative if the wall clock was set back.
        passed = max(0.0, record.created - kind.at)
        kind.allowed, kind.at = min(BURST, kind.allowed + passed / REFILL_SECONDS), record.created
        if kind.allowed < 1:
            kind.suppressed += 1
            return False
        kind.allowed -= 1
        if kind.suppressed:
            setattr(record, LOST_LINES, kind.suppressed)
            kind.suppressed = 0
        return True

    def _kind(self, record: logging.LogRecord) -> "_Kind":
        facts = vars(record)
        key = (record.pathname, record.lineno, record.levelno, *(facts.get(name) for name in _FACTS_OF_KIND))
        kind = self._kinds.setdefault(key, _Kind(BURST, record.created))
        self._kinds.move_to_end(key)
        if len(self._kinds) > _MAX_KINDS:
            self._kinds.popitem(last=False)
        return kind


class _Kind(Struct):
    """The state of one kind of line.

    At the time `at`, `allowed` more lines could be written. `suppressed` counts the lines that are not reported yet.
    """

    allowed: float
    at: float
    suppressed: int = 0


class DirectHandler(logging.StreamHandler[TextIO]):
    """Writes each line directly to the stream, without a queue; used by commands."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's interface
        """Ignore errors in writing a line: by default, logging would print the log record with its secrets."""


def _find_handler(root: logging.Logger, stream: TextIO, *, queued: bool) -> DirectHandler | QueuedHandler:
    """Return the existing handler of the wanted kind for this stream, or a new handler."""
    wanted = QueuedHandler if queued else DirectHandler
    for handler in root.handlers:
        if isinstance(handler, wanted) and handler.stream is stream:
            return handler
    return wanted(stream)


def _find_repeat_filter(root: logging.Logger) -> RepeatFilter:
    """Return the existing filter, or a new filter. A new filter at each reload would forget what is suppressed."""
    filters = (known for handler in root.handlers for known in handler.filters)
    return next((known for known in filters if isinstance(known, RepeatFilter)), None) or RepeatFilter()


def _log_uncaught() -> None:
    """Write uncaught exceptions and Python warnings to the log instead of standard error."""

    def log_in_process(kind: type[BaseException], fault: BaseException, trace: Any) -> None:
        _log.critical("the program ends because of an internal error: please report it", exc_info=(kind, fault, trace))

    def log_in_thread(error: threading.ExceptHookArgs) -> None:
        if error.exc_value is not None:
            facts = {"task": error.thread.name if error.thread is not None else ""}
            fault = (error.exc_type, error.exc_value, error.exc_traceback)
            _log.critical("a thread ended with an internal error", extra=facts, exc_info=fault)

    def log_unraisable(error: "sys.UnraisableHookArgs") -> None:
        _log.error("an internal error was ignored", extra={"detail": error.err_msg or ""}, exc_info=error.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = log_in_process, log_in_thread, log_unraisable
    logging.captureWarnings(True)


def _formatter(log_format: str, stream: TextIO, environ: Mapping[str, str]) -> logging.Formatter:
    if log_format == "json":
        return JsonFormatter()
    if log_format == "auto" and "JOURNAL_STREAM" in environ and not stream.isatty():
        return JournalFormatter()
    is_terminal = stream.isatty()
    return TextFormatter(colours=is_terminal and "NO_COLOR" not in environ, dated=not is_terminal)


def extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields that were passed as `extra`, without empty values."""
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD_ATTRIBUTES and value not in (None, "")
    }


class TextFormatter(logging.Formatter):
    """Formats lines for a terminal or a file: `12:00:00 warning  destination fails  destination=hr reason=timeout`."""

    def __init__(self, *, colours: bool, dated: bool = False) -> None:
        """Initialise; `colours` colours the level, and `dated` adds the date to the time."""
        super().__init__()
        self._colours = colours
        self._moment = "%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a log record, followed by the lines of its traceback, if any."""
        moment = datetime.fromtimestamp(record.created).astimezone().strftime(self._moment)
        level = f"{record.levelname.lower():<8}"
        if self._colours:
            level = f"\x1b[{_COLOUR.get(record.levelno, '0')}m{level}\x1b[0m"
        return "\n".join([f"{moment} {level} {_message_with_facts(record)}", *_traceback_lines(self, record)])


class JournalFormatter(logging.Formatter):
    """Formats lines for the journal of systemd: `<4>destination fails ...`, where 4 is the priority."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a log record as text with the priority before each line: the journal stores each line separately."""
        prefix = f"<{_JOURNAL_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in [_message_with_facts(record), *_traceback_lines(self, record)])


class JsonFormatter(logging.Formatter):
    """Formats each line as a JSON object with `time`, `level`, `message`, and the `extra` fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a log record as one line of JSON."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry: dict[str, Any] = {
            "time": moment,
            "level": record.levelname.lower(),
            "message": _clean(record.getMessage()),
        }
        entry |= {
            name: value if isinstance(value, bool | int | float) else _clean(str(value))
            for name, value in extra_fields(record).items()
        }
        if trace := _traceback_lines(self, record):
            entry["trace"] = "\n".join(trace)
        return _escape_unprintable(orjson.dumps(entry).decode())


def _escape_unprintable(line: str) -> str:
    """Return a line of JSON, with escapes for characters that control a terminal or the direction of text."""
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def _message_with_facts(record: logging.LogRecord) -> str:
    facts = " ".join(f"{name}={_quoted_value(value)}" for name, value in extra_fields(record).items())
    return _one_line(f"{record.getMessage()}  {facts}".rstrip())


def _quoted_value(value: object) -> str:
    text = str(value)
    return repr(text) if not text or any(character.isspace() for character in text) else text


def _traceback_lines(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    return (
        [_one_line(line) for line in formatter.formatException(record.exc_info).splitlines()] if record.exc_info else []
    )


def _one_line(text: str) -> str:
    """Return text without secrets as one line; characters that could control a terminal become blanks."""
    return "".join(character if character.isprintable() else " " for character in _clean(text))


def _clean(text: str) -> str:
    """Return text without secrets; characters that UTF-8 cannot encode are escaped."""
    return redact(text).encode(errors="backslashreplace").decode()
