"""The log, as people, the journal and programs read it."""

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
    """Set up a log, write a line to it, and return what came out."""
    stream = stream or io.StringIO()
    setup(level, log_format, stream, environ)
    logging.getLogger("notifier.test").warning("destination fails", extra={"destination": "hr", "status": 500})
    return stream.getvalue()


# The three forms


def test_people_read_a_line_of_text() -> None:
    line = TextFormatter(colours=False).format(make_record("destination fails", destination="hr", reason="timeout"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning  destination fails  destination=hr reason=timeout", line)


def test_the_journal_reads_a_priority_on_every_line() -> None:
    text = JournalFormatter().format(
        make_record("a fault", level=40, exc_info=exception_info(ValueError("one\ntwo\u2028three")))
    )
    lines = text.splitlines()
    assert lines[0] == "<3>a fault"
    assert len(lines) >= 4
    assert all(line.startswith("<3>") for line in lines)
    assert "<3>two" in lines


@pytest.mark.parametrize(("level", "priority"), [(10, 7), (20, 6), (30, 4), (40, 3), (50, 2), (35, 6)])
def test_levels_have_the_journals_priorities(level: int, priority: int) -> None:
    assert JournalFormatter().format(make_record("x", level=level)) == f"<{priority}>x"


def test_programs_read_a_json_object() -> None:
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


def test_a_json_entry_with_a_trace_is_one_line() -> None:
    text = JsonFormatter().format(make_record("a fault", exc_info=exception_info(ValueError("one\ntwo"))))
    assert "\n" not in text
    assert json.loads(text)["trace"].splitlines()[-2:] == ["ValueError: one", "two"]


def test_text_shows_a_trace_below_its_line() -> None:
    lines = (
        TextFormatter(colours=False).format(make_record("a fault", exc_info=exception_info(KeyError("x")))).splitlines()
    )
    assert lines[0].endswith("a fault")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "KeyError: 'x'"


def test_a_message_of_several_lines_becomes_one() -> None:
    for formatter in FORMATTERS[:3]:
        assert formatter.format(make_record("one\ntwo\r\nthree", reason="a\nb")).count("\n") == 0


def test_what_is_empty_is_left_out_and_what_is_nothing_is_told() -> None:
    assert extra_fields(make_record("x", status=None, detail="", events=0, ok=False)) == {"events": 0, "ok": False}


def test_a_fact_of_several_words_is_quoted() -> None:
    line = TextFormatter(colours=False).format(make_record("x", detail="no route to host"))
    assert line.endswith("  detail='no route to host'")


# What must never be in it


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
def test_no_secret_gets_into_the_log(formatter: logging.Formatter, facts: Mapping[str, Any]) -> None:
    text = formatter.format(make_record("asked %s", HOOK, **facts))
    assert SECRET not in text
    assert "hooks.example.com" in text


@given(st.text(), st.text(), st.sampled_from(FORMATTERS))
def test_whatever_is_logged_makes_one_line_that_can_be_written(
    message: str, fact: str, formatter: logging.Formatter
) -> None:
    text = formatter.format(make_record("%s", message, detail=fact))
    assert "\n" not in text
    text.encode()
    assert not any(ord(character) < 32 for character in text.replace("\x1b[33m", "").replace("\x1b[0m", ""))


def test_stray_bytes_of_a_file_name_do_not_cost_the_line() -> None:
    for formatter in FORMATTERS:
        text = formatter.format(make_record("state file %s is damaged", b"caf\xe9.db".decode(errors="surrogateescape")))
        assert "udce9.db is damaged" in text
        text.encode()


# Setting up


def test_on_a_terminal_levels_are_coloured_unless_colours_are_not_wanted() -> None:
    assert "\x1b[33mwarning" in log_line("auto", stream=Terminal())
    assert "\x1b" not in log_line("auto", stream=Terminal(), NO_COLOR="1")
    assert "\x1b" not in log_line("auto")


def test_the_format_is_found_out_where_it_is_not_said() -> None:
    assert log_line("auto", JOURNAL_STREAM="8:1") == "<4>destination fails  destination=hr status=500\n"
    assert log_line("auto", stream=Terminal(), JOURNAL_STREAM="8:1")[2] == ":"
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d warning", log_line("text", JOURNAL_STREAM="8:1"))
    assert json.loads(log_line("json", JOURNAL_STREAM="8:1"))["destination"] == "hr"


def test_the_level_counts_for_the_program_and_others_only_warn() -> None:
    stream = io.StringIO()
    setup("debug", "text", stream, {})
    for name in ("notifier.watch", "aiohttp.access", "apscheduler.scheduler"):
        logging.getLogger(name).debug("debug of %s", name)
        logging.getLogger(name).error("error of %s", name)
    said = [line.split(" ", 3)[3].strip() for line in stream.getvalue().splitlines()]
    assert said == ["debug of notifier.watch", "error of notifier.watch", "error of aiohttp.access"]


def test_less_than_the_level_is_not_logged() -> None:
    assert log_line("text", level="error") == ""
    assert log_line("text", level="warning") != ""


def test_setting_up_twice_does_not_write_twice() -> None:
    first = io.StringIO()
    setup("info", "text", first, {})
    assert log_line("text").count("destination fails") == 1
    assert first.getvalue() == ""


def test_without_a_stream_it_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    setup("info", "json", environ={})
    logging.getLogger("notifier").warning("hello")
    assert json.loads(capsys.readouterr().err)["message"] == "hello"
    assert logging.getLogger().handlers[0].stream is sys.stderr  # type: ignore[attr-defined]


@pytest.mark.parametrize(("level", "lines"), [("info", 20), ("error", 20), ("debug", 500)])
def test_what_repeats_is_left_out_after_a_while_unless_everything_is_wanted(level: str, lines: int) -> None:
    stream = io.StringIO()
    setup(level, "json", stream, {})
    for _ in range(500):
        logging.getLogger("notifier.test").error("it fails", extra={"source": "acme", "reason": "timeout"})
    assert len(stream.getvalue().splitlines()) == lines


def test_a_log_that_cannot_be_written_shows_nothing_elsewhere(capfd: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    setup("info", "text", stream, {})
    stream.close()
    logging.getLogger("notifier.test").error("asked %s", HOOK)
    assert "".join(capfd.readouterr()) == ""


@given(st.text())
def test_a_json_entry_controls_no_terminal_and_says_the_same(text: str) -> None:
    line = JsonFormatter().format(make_record("it said %s", text, said=f"\x1b[31m\x9b31m\u202e{text}"))
    assert line.isprintable()
    assert json.loads(line)["said"].startswith("\x1b[31m\x9b31m\u202e")


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_configured_secrets_are_hidden_wherever_they_stand(formatter: logging.Formatter) -> None:
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
