"""The program's log, in one of three formats: text, text with journal priorities, or JSON.

The daemon's lines go through a queue (`log_queue.py`), so that a slow reader cannot block it; commands write directly.

The module uses the standard library's logging with three small formatters. The daemon writes only a few lines a day,
and a package for structured logging would need more memory and start-up time.
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
"""How many lines of one kind may be written in a row; any more are suppressed."""

REFILL_SECONDS: Final = 3600.0
"""Seconds after which one more line of a suppressed kind may be written."""

_NEVER_SUPPRESSED: Final = ("event", "record")
"""Lines with one of these facts (`extra`) are never suppressed: each is about another event or record."""

_FACTS_OF_KIND: Final = ("source", "destination", "reason", "list", "job", "condition", "subject", "key")
_MOST_KINDS: Final = 1000

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
    """Write this program's log to `stream`, by default standard error; another call changes the settings.

    `level` is debug, info, warning, error or critical; `log_format` is auto, text or json. Lines that repeat are
    suppressed, except with level debug. `queued` is for the daemon: logging does not wait for the log's reader, and
    uncaught exceptions are logged too.
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
    """Wait until the queued lines are written, for at most `log_queue.FLUSH_SECONDS`."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def final_stream() -> TextIO | None:
    """Return a stream for final messages that does not wait for a reader; None if the log has no queue."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, QueuedHandler):
            return FinalMessages(handler)
    return None


class RepeatFilter(logging.Filter):
    """Suppresses lines of a kind that repeats too often; the next line of that kind says how many were suppressed.

    Lines are of the same kind if they are logged by the same statement, at the same level, with the same source,
    destination, reason and other facts of `_TELLING_APART`. Lines about one event or record, and debug lines, are never
    suppressed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_on = True
        """Whether repeated lines are suppressed at all."""
        self._kinds: OrderedDict[tuple[object, ...], _Kind] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line may be written."""
        facts = vars(record)
        if not self.is_on or record.levelno < logging.INFO or any(facts.get(name) for name in _NEVER_SUPPRESSED):
            return True
        kind = self._kind(record)
        # If the wall clock was set back, the wait must not become longer.
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
        if len(self._kinds) > _MOST_KINDS:
            self._kinds.popitem(last=False)
        return kind


class _Kind(Struct):
    """The state of one kind of line: how many may be written as of the time `at`, and how many were suppressed."""

    allowed: float
    at: float
    suppressed: int = 0


class DirectHandler(logging.StreamHandler[TextIO]):
    """Writes each line at once; for commands, because the person who runs them reads the log."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's interface
        """Ignore an error in writing: it cannot be reported elsewhere, and the library would print unredacted text."""


def _find_handler(root: logging.Logger, stream: TextIO, *, queued: bool) -> DirectHandler | QueuedHandler:
    """Return the existing handler for this stream, or a new one."""
    wanted = QueuedHandler if queued else DirectHandler
    for handler in root.handlers:
        if isinstance(handler, wanted) and handler.stream is stream:
            return handler
    return wanted(stream)


def _find_repeat_filter(root: logging.Logger) -> RepeatFilter:
    """Return the process's only filter; a new one at each reload would let suppressed lines through again."""
    filters = (known for handler in root.handlers for known in handler.filters)
    return next((known for known in filters if isinstance(known, RepeatFilter)), None) or RepeatFilter()


def _log_uncaught() -> None:
    """Send the interpreter's reports of uncaught exceptions and warnings to the log instead of standard error."""

    def log_in_process(kind: type[BaseException], fault: BaseException, trace: Any) -> None:
        _log.critical("the program ends because of an internal error: please report it", exc_info=(kind, fault, trace))

    def log_in_thread(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None:
            facts = {"task": told.thread.name if told.thread is not None else ""}
            fault = (told.exc_type, told.exc_value, told.exc_traceback)
            _log.critical("a thread ended with an internal error", extra=facts, exc_info=fault)

    def log_unraisable(told: "sys.UnraisableHookArgs") -> None:
        _log.error("an internal error was ignored", extra={"detail": told.err_msg or ""}, exc_info=told.exc_value)

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
    """Return the facts that were passed as `extra`, without empty ones."""
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD_ATTRIBUTES and value not in (None, "")
    }


class TextFormatter(logging.Formatter):
    """Formats lines for a terminal or a file: `12:00:00 warning  destination fails  destination=hr reason=timeout`."""

    def __init__(self, *, colours: bool, dated: bool = False) -> None:
        """Initialize; `colours` colours the level, and `dated` puts the date before the time, for lines in a file."""
        super().__init__()
        self._colours = colours
        self._moment = "%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, followed by the traceback if there is one."""
        moment = datetime.fromtimestamp(record.created).astimezone().strftime(self._moment)
        level = f"{record.levelname.lower():<8}"
        if self._colours:
            level = f"\x1b[{_COLOUR.get(record.levelno, '0')}m{level}\x1b[0m"
        return "\n".join([f"{moment} {level} {_message_with_facts(record)}", *_traceback_lines(self, record)])


class JournalFormatter(logging.Formatter):
    """Formats lines for the journal, which reads the priority and adds the time: `<4>destination fails ...`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one entry. Each line begins with the priority, because the journal stores each line as an entry."""
        prefix = f"<{_JOURNAL_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in [_message_with_facts(record), *_traceback_lines(self, record)])


class JsonFormatter(logging.Formatter):
    """Formats each line as a JSON object: `time`, `level`, `message`, and the facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
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
    """Return the same JSON; characters that control a terminal or the direction of writing are escaped."""
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
    """Return text as one line for a terminal, with blanks in place of characters that move the cursor."""
    return "".join(character if character.isprintable() else " " for character in _clean(text))


def _clean(text: str) -> str:
    """Return text without secrets; characters that cannot be encoded, such as bytes of a file name, are escaped."""
    return redact(text).encode(errors="backslashreplace").decode()
