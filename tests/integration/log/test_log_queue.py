"""The daemon's log: logging does not wait for a reader, and lines that do not fit are counted."""

import fcntl
import io
import json
import logging
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.log import JsonFormatter, TextFormatter
from notifier.log_queue import QUEUE_BYTES, QueuedHandler, has_room

LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class Pipe:
    """A log that is read when a test reads it."""

    def __init__(self) -> None:
        self.reading_end, self.writing_end = os.pipe()
        self.size = fcntl.fcntl(self.writing_end, fcntl.F_SETPIPE_SZ, 4096)
        self.stream = os.fdopen(self.writing_end, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        self.handler = QueuedHandler(self.stream)
        self.handler.setFormatter(JsonFormatter())

    def log(self, message: str, level: int = logging.INFO) -> None:
        self.handler.handle(logging.LogRecord("notifier.x", level, "x.py", 1, message, (), None))

    def read(self, until: str) -> list[dict[str, object]]:
        """Read up to the line with this message."""
        text = b""
        end = time.monotonic() + 20
        while until.encode() not in text or not text.endswith(b"\n"):
            assert time.monotonic() < end, text[-500:]
            if select.select([self.reading_end], [], [], 0.1)[0]:
                text += os.read(self.reading_end, 1 << 20)
        return [json.loads(line) for line in text.splitlines()]

    def close(self) -> None:
        for descriptor in (self.reading_end, self.writing_end):
            with suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    this = Pipe()
    yield this
    this.close()


def overfill(pipe: Pipe, message: str, level: int = logging.INFO) -> int:
    """Log more than the queue takes; return how many lines that were."""
    lines = 2 * QUEUE_BYTES // (len(message) + 60)
    for number in range(lines):
        pipe.log(f"{message} {number}", level)
    return lines


def test_hanging_reader_does_not_block_logging_and_left_out_lines_are_counted(pipe: Pipe) -> None:
    started = time.monotonic()
    lines = overfill(pipe, "something happened")
    assert time.monotonic() - started < 20
    entries = pipe.read(until="were left out")
    (count,) = [entry for entry in entries if entry["message"] == "lines of the log were left out"]
    written = [entry for entry in entries if entry is not count]
    assert count["level"] == "warning"
    assert count["detail"] == "the log was not read fast enough"
    assert len(written) + int(str(count["left_out"])) == lines
    assert 0.6 * QUEUE_BYTES < sum(len(json.dumps(entry)) for entry in written) < QUEUE_BYTES
    # The first lines are kept, in order.
    assert [entry["message"] for entry in written] == [f"something happened {n}" for n in range(len(written))]


def test_count_of_left_out_lines_is_written_where_they_are_missing(pipe: Pipe) -> None:
    overfill(pipe, "something happened")
    while pipe.handler._waiting_bytes() > 10_000:
        os.read(pipe.reading_end, 65536)
    pipe.log("the next one")
    messages = [entry["message"] for entry in pipe.read(until="the next one")[-2:]]
    assert messages == ["lines of the log were left out", "the next one"]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING])
def test_full_queue_of_lower_levels_still_accepts_an_error(pipe: Pipe, level: int) -> None:
    overfill(pipe, "something happened", level)
    pipe.log("it fails", logging.ERROR)
    assert "it fails" in [entry["message"] for entry in pipe.read(until="were left out")]


def test_left_out_errors_are_counted_separately(pipe: Pipe) -> None:
    lines = overfill(pipe, "it fails", logging.ERROR)
    *written, count = pipe.read(until="were left out")
    assert count["errors"] == count["left_out"] == lines - len(written)


@given(st.sampled_from(LEVELS), st.integers(0, 2 * QUEUE_BYTES), st.integers(1, 2 * QUEUE_BYTES))
def test_has_room_accepts_higher_levels_in_a_fuller_queue(level: int, waiting: int, line: int) -> None:
    is_in = has_room(level, waiting, line)
    assert is_in or all(not has_room(lower, waiting, line) for lower in LEVELS if lower < level)
    assert is_in or not has_room(level, waiting + 1, line)
    assert is_in or not has_room(level, waiting, line + 1) or waiting == 0
    assert not is_in or waiting == 0 or waiting + line <= QUEUE_BYTES


def test_flush_waits_for_a_reader_for_a_limited_time(pipe: Pipe) -> None:
    overfill(pipe, "something happened")
    started = time.monotonic()
    pipe.handler.flush()
    assert 0.5 < time.monotonic() - started < 10
    reader = threading.Thread(target=pipe.read, args=("at last",))
    reader.start()
    pipe.log("at last", logging.ERROR)
    reader.join(20)
    assert not reader.is_alive()
    started = time.monotonic()
    pipe.handler.flush()
    assert time.monotonic() - started < 0.9


def test_closed_reader_raises_no_error_and_failed_writes_are_counted(pipe: Pipe) -> None:
    os.close(pipe.reading_end)
    for number in range(100):
        pipe.log(f"{number}")
    pipe.handler.flush()
    assert pipe.handler._failed_writes - pipe.handler._reported_failed_writes == 100


def test_full_disk_is_reported_in_the_log_once_there_is_room(tmp_path: Path) -> None:
    # A limit on the file's size simulates a full disk.
    script = f"""
import logging, os, resource, signal, sys
from notifier import log
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
sys.stderr = open({str(tmp_path / "log")!r}, "a")
log.setup("info", "text", queued=True)
logger = logging.getLogger("notifier.x")
logger.info("first"); log.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
for number in range(10):
    logger.info("x" * 30 + str(number), extra={{"event": "evt"}})
log.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
logger.info("last")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
    text = (tmp_path / "log").read_text()
    lines = text.splitlines()
    assert "last" in text
    (count,) = [line for line in lines if "lines of the log were left out" in line]
    assert "detail='File too large'" in count
    whole = [line for line in lines if re.search(r"x{30}\d  event=evt", line)]
    assert int(re.findall(r"left_out=(\d+)", count)[0]) == 10 - len(whole)
    # The next line is not joined to a line that was cut off.
    assert re.match(r"\d{4}-\d\d-\d\d .* last$", next(line for line in lines if line.endswith("last")))


def test_nonblocking_descriptor_loses_no_lines(pipe: Pipe) -> None:
    os.set_blocking(pipe.writing_end, False)
    for number in range(500):
        pipe.log(f"line {number}")
    assert [entry["message"] for entry in pipe.read(until="line 499")] == [f"line {number}" for number in range(500)]


def test_lines_of_several_threads_are_written_whole_and_in_order(pipe: Pipe) -> None:
    def work(name: int) -> None:
        for number in range(100):
            pipe.log(f"{name} {number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.log("end")
    *messages, _ = [str(entry["message"]) for entry in pipe.read(until='"end"')]
    for name in range(8):
        assert [m for m in messages if m.startswith(f"{name} ")] == [f"{name} {number}" for number in range(100)]


def test_line_that_cannot_be_formatted_is_dropped_silently(pipe: Pipe, capfd: pytest.CaptureFixture[str]) -> None:
    pipe.handler.handle(logging.LogRecord("notifier.x", logging.INFO, "x.py", 1, "%d", ("no number",), None))
    pipe.log("the next")
    assert [entry["message"] for entry in pipe.read(until="the next")] == ["the next"]
    assert "".join(capfd.readouterr()) == ""


def ended(script: str) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr.splitlines()


SETUP = "import logging, sys, threading, warnings\nfrom notifier import log\nlog.setup('info', 'json', queued=True)\n"
MANY = "[logging.getLogger('notifier.x').error('x' * 50, extra={'event': n}) for n in range(999)]\n"
HOOK = "https://user:hidden@hooks.example.com/services/hidden"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (f"raise RuntimeError('{HOOK}')", "the program ends because of an internal error: please report it"),
        (
            f"def f(): raise RuntimeError('{HOOK}')\nt = threading.Thread(target=f, name='t'); t.start(); t.join()",
            "a thread ended with an internal error",
        ),
        (
            f"class C:\n  def __del__(self): raise RuntimeError('{HOOK}')\nC()",
            "an internal error was ignored",
        ),
    ],
)
def test_uncaught_exceptions_are_logged_without_secrets(script: str, message: str) -> None:
    _, lines = ended(SETUP + script)
    (entry,) = map(json.loads, lines)
    assert entry["message"] == message
    assert entry["trace"].splitlines()[-1] == "RuntimeError: https://hooks.example.com/..."


def test_warnings_of_libraries_are_logged() -> None:
    _, lines = ended(SETUP + "warnings.warn('a library has something to say', UserWarning)")
    assert "a library has something to say" in json.loads(lines[0])["message"]


def test_lines_logged_just_before_the_exit_are_written() -> None:
    code, lines = ended(SETUP + MANY)
    assert code == 0
    assert [json.loads(line)["event"] for line in lines[1:]] == list(range(1, 999))


def test_final_stream_writes_after_all_logged_lines() -> None:
    script = (
        "logging.getLogger('notifier.x').error('it fails')\nimport click\n"
        "click.ClickException('it could not start').show(log.final_stream())"
    )
    _, lines = ended(SETUP + script)
    assert json.loads(lines[0])["message"] == "it fails"
    assert lines[1:] == ["Error: it could not start"]


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)"])
def test_process_ends_although_its_log_is_not_read(ending: str) -> None:
    reading_end, writing_end = os.pipe()
    fcntl.fcntl(writing_end, fcntl.F_SETPIPE_SZ, 4096)
    script = SETUP + MANY + ending
    with subprocess.Popen([sys.executable, "-c", script], stderr=writing_end) as process:
        try:
            assert process.wait(10) == (3 if ending else 0)
        finally:
            process.kill()
    os.close(reading_end)
    os.close(writing_end)


def test_sigterm_while_the_log_is_blocked_ends_the_process() -> None:
    reading_end, writing_end = os.pipe()
    fcntl.fcntl(writing_end, fcntl.F_SETPIPE_SZ, 4096)
    script = (
        SETUP
        + "import signal, time\n"
        + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        + MANY
        + "print('stuck', flush=True)\ntime.sleep(60)"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writing_end) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 7
    os.close(reading_end)
    os.close(writing_end)


def test_stream_without_a_descriptor_is_written_to() -> None:
    stream = io.StringIO()
    handler = QueuedHandler(stream)
    handler.setFormatter(TextFormatter(colours=False))
    handler.handle(logging.LogRecord("notifier.x", logging.INFO, "x.py", 1, "hello", (), None))
    handler.flush()
    assert stream.getvalue().endswith("info     hello\n")
