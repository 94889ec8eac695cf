"""Writes the daemon's log lines in a separate thread, through a queue of limited size.

So the daemon is not blocked if the program that reads the log hangs or has ended. Lines that do not fit are dropped;
their number is logged when there is room again.

Lines go directly to the file descriptor, not through a Python stream. A thread that waits in a write to a stream holds
a lock, which blocks other writers. Also, Python would abort if the program ended during such a write.
"""

import io
import logging
import os
import select
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, TextIO

from msgspec import Struct

QUEUE_BYTES: Final = 1024 * 1024
"""The size limit of the queue in bytes, enough for about 8,000 lines."""

_SHARES: Final = ((logging.ERROR, 1.0), (logging.WARNING, 7 / 8), (logging.INFO, 3 / 4))
"""The share of the queue that lines of each level may fill. Lower levels leave room for errors."""

_LOWEST_SHARE: Final = 1 / 2

FLUSH_SECONDS: Final = 1.0
"""The longest wait in seconds for the reader of the log. It is short, because the daemon must stop in five seconds."""

LOST_LINES: Final = "left_out"
"""The name of the `extra` field with the number of lines that were dropped or suppressed before this line."""

_log = logging.getLogger(__name__)


def has_room(level: int, waiting_bytes: int, line_bytes: int) -> bool:
    """Return whether the queue, which holds `waiting_bytes`, has room for a line of this level. Pure.

    Errors may fill the whole queue, warnings seven eighths, info lines three quarters and debug lines half. An empty
    queue has room for a line of any length.
    """
    share = next((share for lowest, share in _SHARES if level >= lowest), _LOWEST_SHARE)
    return waiting_bytes == 0 or waiting_bytes + line_bytes <= QUEUE_BYTES * share


class QueuedHandler(logging.Handler):
    """Puts each line into a queue, from which a separate thread writes it.

    At any point of this code, the garbage collector may run other code that logs a line. So the separate thread holds
    no lock while it writes, and each counter is changed by one thread only.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._write = _writer(stream)
        self._queue: SimpleQueue[_Line | threading.Event] = SimpleQueue()
        self._queued_bytes = 0
        self._removed_bytes = 0
        self._dropped = 0
        self._dropped_errors = 0
        self._failed_writes = 0
        self._reported_failed_writes = 0
        self._write_error = ""
        threading.Thread(target=self._write_lines, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put the line of a log record into the queue; if there is no room, drop and count the line."""
        try:
            data = self._encoded(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - logging's rule: a line that cannot be made harms nothing else
            self.handleError(record)
            return
        waiting = self._waiting_bytes()
        if not has_room(record.levelno, waiting, len(data)):
            self._dropped += 1
            self._dropped_errors += record.levelno >= logging.ERROR
            return
        if self._has_unreported_loss() and has_room(logging.DEBUG, waiting, len(data)):
            self._log_loss()
        self._put(data)

    def write_text(self, text: str) -> None:
        """Put text into the queue, even if the queue is full."""
        self.acquire()
        try:
            self._put(self._encoded(text))
        finally:
            self.release()

    def flush(self) -> None:
        """Wait until all lines in the queue are written, at most FLUSH_SECONDS."""
        self.acquire()
        try:
            if self._has_unreported_loss():
                self._log_loss()
        finally:
            self.release()
        written = threading.Event()
        self._queue.put(written)
        written.wait(FLUSH_SECONDS)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's interface
        """Ignore errors in formatting a line: by default, logging would print the log record with its secrets."""

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._encoding, errors="backslashreplace")

    def _waiting_bytes(self) -> int:
        return self._queued_bytes - self._removed_bytes

    def _put(self, data: bytes, *, lines: int = 1) -> None:
        self._queued_bytes += len(data)
        self._queue.put(_Line(data, lines))

    def _has_unreported_loss(self) -> bool:
        return self._dropped > 0 or self._failed_writes > self._reported_failed_writes

    def _log_loss(self) -> None:
        unwritten = self._failed_writes - self._reported_failed_writes
        left_out = self._dropped + unwritten
        facts = {
            LOST_LINES: left_out,
            "errors": self._dropped_errors or None,
            "detail": self._write_error if unwritten else "the log was not read fast enough",
        }
        record = _log.makeRecord(
            __name__, logging.WARNING, __file__, 0, "lines of the log were left out", (), None, extra=facts
        )
        self._dropped = self._dropped_errors = 0
        self._reported_failed_writes += unwritten
        self._put(self._encoded(self.format(record) + "\n"), lines=left_out)

    def _write_lines(self) -> None:
        """Write the lines of the queue until the process ends. Runs in the separate thread."""
        while True:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
                continue
            is_written = self._write_line(item)
            self._removed_bytes += len(item.data)
            # After a failed write, the count is not logged: that write would probably fail, too, and so on.
            if is_written and self._has_unreported_loss() and self._queue.empty():
                self._log_loss_unless_locked()

    def _log_loss_unless_locked(self) -> None:
        # A thread that holds the lock is logging a line or flushing. That thread or the next line reports the count.
        if self.lock is not None and self.lock.acquire(blocking=False):
            try:
                self._log_loss()
            finally:
                self.lock.release()

    def _write_line(self, line: "_Line") -> bool:
        try:
            self._write(line.data)
        except (OSError, ValueError) as error:
            self._write_error = (error.strerror if isinstance(error, OSError) else None) or str(error)
            self._failed_writes += line.lines
            return False
        return True


class _Line(Struct, frozen=True):
    data: bytes
    lines: int
    """How many lines are lost if this line is not written: 1, or the number of lost lines that this line reports."""


class FinalMessages(io.StringIO):
    """A text stream for the last messages before the process ends; it writes through the queue of the log."""

    def __init__(self, handler: QueuedHandler) -> None:
        super().__init__()
        self._handler = handler

    def write(self, text: str) -> int:
        """Put text into the queue of the log."""
        self._handler.write_text(text)
        return len(text)


def _writer(stream: TextIO) -> Callable[[bytes], None]:
    """Return a function that writes bytes to `stream`; it is called only in the separate thread."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):

        def write_text(data: bytes) -> None:
            stream.write(data.decode(getattr(stream, "encoding", None) or "utf-8"))
            stream.flush()

        return write_text
    return _DescriptorWriter(descriptor).write


class _DescriptorWriter:
    """Writes whole lines to a file descriptor, even if another process has made the descriptor non-blocking."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_line_cut = False

    def write(self, data: bytes) -> None:
        """Write a line. If the previous write ended within a line, begin with a line break. Raises OSError."""
        rest = b"\n" + data if self._is_line_cut else data
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                room = select.poll()
                room.register(self._descriptor, select.POLLOUT)
                room.poll()
            else:
                self._is_line_cut = bool(rest)
