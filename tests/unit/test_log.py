"""The log in its three formats: text, journal and JSON."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from yarl import URL

from notifier import redact
from notifier.log import JournalFormatter, JsonFormatter, TextFormatter, extra_fields, setup
from notifier.redact import remember_secrets

SECRET = "lastsegmentIsTheSecret"
HOOK = f"https://user:{SECRET}@hooks.example.com/services/{SECRET}?key={SECRET}"
FORMATTERS = [TextFormatter(colours=False), TextFormatter(colours=True), JournalFormatter(), JsonFormatter()]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def make_record(
    message: str, *args: object, exc_info: ExcInfo | None = None, level: int = 30, **facts: Any
) -> logging.LogRecord:
    made = logging.LogRecord("notifier.delivery.worker", level, __file__, 1, message, args, exc_info)
    made.created = 1_795_280_400.123
    vars(made).update(facts)
    return made


def exception_info(error: Exception) -> ExcInfo:
    try:
        raise error
    except type(error) as caught:
        return type(caught), caught, caught.__traceback__


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    names = (None, "notifier", "apscheduler")
    handlers, levels = logging.getLogger().handlers[:], [logging.getLogger(name).level for name in names]
    yield
    logging.getLogger().handlers[:] = handlers
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


def log_line(log_format: str, level: str = "info", stream: io.StringIO | None = None, **environ: str) -> str:
    """Set up a log, write a line to it, and return the text that was written."""
    stream = stream or io.StringIO()
    setup(level, log_format, stream, environ)
    logging.getLogger("notifier.test").warning("destination fails", extra={"destination": "hr", "status": 500})
    return stream.getvalue()


# The three formats


def test_text_formatter_writes_one_line() -> None:
    line = TextFormatter(colours=False).format(make_record("destination fails", destination="hr", reason="timeout"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning  destination fails  destination=hr reason=timeout", line)


def test_journal_formatter_writes_the_priority_on_every_line() -> None:
    text = JournalFormatter().format(
        make_record("a fault", level=40, exc_info=exception_info(ValueError("one\ntwo\u2028three")))
    )
    lines = text.splitlines()
    assert lines[0] == "<3>a fault"
    assert len(lines) >= 4
    assert all(line.startswith("<3>") for line in lines)
    assert "<3>two" in lines


@pytest.mark.parametrize(("level", "priority"), [(10, 7), (20, 6), (30, 4), (40, 3), (50, 2), (35, 6)])
def test_journal_formatter_maps_levels_to_priorities(level: int, priority: int) -> None:
    assert JournalFormatter().format(make_record("x", level=level)) == f"<{priority}>x"


def test_json_formatter_writes_an_object() -> None:
    entry = json.loads(
        JsonFormatter().format(make_record("%s fails", "hr", status=500, reason="timeout", ratio=0.5, ok=True))
    )
    assert entry == {
        "time": "2026-11-21T17:00:00.123Z",
        "level": "warning",
        "message": "hr fails",
        "status": 500,
        "reason": "timeout",
        "ratio": 0.5,
        "ok": True,
    }


def test_json_formatter_writes_a_trace_in_one_line() -> None:
    text = JsonFormatter().format(make_record("a fault", exc_info=exception_info(ValueError("one\ntwo"))))
    assert "\n" not in text
    assert json.loads(text)["trace"].splitlines()[-2:] == ["ValueError: one", "two"]


def test_text_formatter_writes_a_trace_below_the_line() -> None:
    lines = (
        TextFormatter(colours=False).format(make_record("a fault", exc_info=exception_info(KeyError("x")))).splitlines()
    )
    assert lines[0].endswith("a fault")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "KeyError: 'x'"


def test_text_and_journal_formatters_write_a_multiline_message_in_one_line() -> None:
    for formatter in FORMATTERS[:3]:
        assert formatter.format(make_record("one\ntwo\r\nthree", reason="a\nb")).count("\n") == 0


def test_extra_fields_omits_empty_values_and_keeps_zero_and_false() -> None:
    assert extra_fields(make_record("x", status=None, detail="", events=0, ok=False)) == {"events": 0, "ok": False}


def test_text_formatter_quotes_a_value_of_several_words() -> None:
    line = TextFormatter(colours=False).format(make_record("x", detail="no route to host"))
    assert line.endswith("  detail='no route to host'")


# Secrets and invalid characters


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize(
    "facts",
    [
        {"detail": f"POST {HOOK} failed"},
        {"detail": URL(HOOK)},
        {"detail": [HOOK]},
        {"detail": {"url": HOOK}},
        {"detail": ValueError(HOOK)},
        {"detail": SecretStr(SECRET)},
        {"detail": HOOK.encode()},
        {"exc_info": exception_info(ValueError(f"no answer from {HOOK}"))},
        {"detail": f"Authorization: Bearer {SECRET}"},
        {"detail": f"whsec_{SECRET}"},
    ],
)
def test_formatters_hide_secrets_in_messages_and_facts(formatter: logging.Formatter, facts: Mapping[str, Any]) -> None:
    text = formatter.format(make_record("asked %s", HOOK, **facts))
    assert SECRET not in text
    assert "hooks.example.com" in text


@given(st.text(), st.text(), st.sampled_from(FORMATTERS))
def test_formatters_with_arbitrary_text_write_one_encodable_line(
    message: str, fact: str, formatter: logging.Formatter
) -> None:
    text = formatter.format(make_record("%s", message, detail=fact))
    assert "\n" not in text
    text.encode()
    assert not any(ord(character) < 32 for character in text.replace("\x1b[33m", "").replace("\x1b[0m", ""))


def test_formatters_escape_undecodable_bytes_of_a_file_name() -> None:
    for formatter in FORMATTERS:
        text = formatter.format(make_record("state file %s is damaged", b"caf\xe9.db".decode(errors="surrogateescape")))
        assert "udce9.db is damaged" in text
        text.encode()


# Setting up


def test_setup_colours_levels_only_on_a_terminal_without_no_color() -> None:
    assert "\x1b[33mwarning" in log_line("auto", stream=Terminal())
    assert "\x1b" not in log_line("auto", stream=Terminal(), NO_COLOR="1")
    assert "\x1b" not in log_line("auto")


def test_setup_with_format_auto_detects_the_journal() -> None:
    assert log_line("auto", JOURNAL_STREAM="8:1") == "<4>destination fails  destination=hr status=500\n"
    assert log_line("auto", stream=Terminal(), JOURNAL_STREAM="8:1")[2] == ":"
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d warning", log_line("text", JOURNAL_STREAM="8:1"))
    assert json.loads(log_line("json", JOURNAL_STREAM="8:1"))["destination"] == "hr"


def test_setup_applies_the_level_only_to_the_program() -> None:
    stream = io.StringIO()
    setup("debug", "text", stream, {})
    for name in ("notifier.watch", "aiohttp.access", "apscheduler.scheduler"):
        logging.getLogger(name).debug("debug of %s", name)
        logging.getLogger(name).error("error of %s", name)
    said = [line.split(" ", 3)[3].strip() for line in stream.getvalue().splitlines()]
    assert said == ["debug of notifier.watch", "error of notifier.watch", "error of aiohttp.access"]


def test_setup_drops_messages_below_the_level() -> None:
    assert log_line("text", level="error") == ""
    assert log_line("text", level="warning") != ""


def test_setup_twice_writes_each_line_once() -> None:
    first = io.StringIO()
    setup("info", "text", first, {})
    assert log_line("text").count("destination fails") == 1
    assert first.getvalue() == ""


def test_setup_without_a_stream_writes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    setup("info", "json", environ={})
    logging.getLogger("notifier").warning("hello")
    assert json.loads(capsys.readouterr().err)["message"] == "hello"
    assert logging.getLogger().handlers[0].stream is sys.stderr  # type: ignore[attr-defined]


@pytest.mark.parametrize(("level", "lines"), [("info", 20), ("error", 20), ("debug", 500)])
def test_setup_limits_repeated_messages_except_at_level_debug(level: str, lines: int) -> None:
    stream = io.StringIO()
    setup(level, "json", stream, {})
    for _ in range(500):
        logging.getLogger("notifier.test").error("it fails", extra={"source": "acme", "reason": "timeout"})
    assert len(stream.getvalue().splitlines()) == lines


def test_unwritable_log_prints_nothing_elsewhere(capfd: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    setup("info", "text", stream, {})
    stream.close()
    logging.getLogger("notifier.test").error("asked %s", HOOK)
    assert "".join(capfd.readouterr()) == ""


@given(st.text())
def test_json_formatter_escapes_control_characters_and_keeps_the_value(text: str) -> None:
    line = JsonFormatter().format(make_record("it said %s", text, said=f"\x1b[31m\x9b31m\u202e{text}"))
    assert line.isprintable()
    assert json.loads(line)["said"].startswith("\x1b[31m\x9b31m\u202e")


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_formatters_hide_remembered_secrets_in_message_fact_and_trace(formatter: logging.Formatter) -> None:
    remember_secrets(["token-of-the-account"])
    try:
        fault = exception_info(ValueError("token-of-the-account is wrong"))
        line = formatter.format(
            make_record("%s", "token-of-the-account", said="(token-of-the-account)", exc_info=fault)
        )
    finally:
        redact._remembered.clear()
    assert "of-the-account" not in line
    assert line.count("[secret]") == 3
