"""The words of the log: a fact has the same name in every line, and a message contains no facts."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "notifier"
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}

FACTS = {
    "source": "which source",
    "destination": "which destination",
    "event": "an event's id",
    "type": "an event's type",
    "record": "a record's key",
    "reason": "why, as a word of a closed set",
    "detail": "the same in words for people",
    "status": "an HTTP status",
    "decision": "what was decided after an attempt",
    "condition": "of an alert",
    "subject": "which source or destination a condition is of",
    "state": "how something has ended",
    "events": "how many",
    "deliveries": "how many",
    "records": "how many",
    "changes": "how many a sweep has found",
    "unreadable": "how many records",
    "pages": "how many",
    "people": "how many",
    "found": "how many records",
    "missing": "how many records",
    "suspects": "how many records",
    "known": "how many records",
    "share": "of the known records",
    "page": "which",
    "of": "how many pages",
    "list": "of names: people or trainings",
    "replay": "its number",
    "queued": "deliveries that a replay has queued again",
    "part": "of the daemon: which one makes no progress",
    "task": "of the event loop",
    "job": "of the schedule",
    "work": "on a source: poll, sweep, search, fetching of names",
    "seconds": "how long",
    "key": "of the configuration",
    "id": "in a filter",
    "pattern": "in a filter",
    "left_to_restart": "keys of the configuration",
    "path": "of a local request, or of the state file",
    "lost": "tables of a damaged file that could not be read whole",
    "what": "is held back: removals, arrivals, changes",
    "silently": "whether no event is sent",
    "by": "who has requested it: a user of this machine, or an address",
    "total": "the API's count, according to its paging",
    "last_page": "the API's count, according to the number of its last page of one record",
    "limit": "how many records a page may hold",
    "room": "how many records can be gone by the API's count",
    "left": "how many records a search has not found",
    "address": "of a peer of the HTTP interface, or a user of this machine",
    "transport": "by which a request came: the owner's socket, a Unix socket, TCP",
    "method": "of a local request",
    "guesses": "how many wrong tokens came from there",
    "closed": "how many connections",
    "database": "where a store in PostgreSQL is",
    "holder": "which process holds that store",
    "dashboard": "where a browser finds it",
    "proxy": "its address, where it was found, and what goes through it",
    "version": "of this program",
    "sources": "how many",
    "destinations": "how many",
    "alerts_to": "which destination gets the alerts",
    "matched": "how many records of an answer are known under other keys",
    "unmatched": "how many are not known at all",
    "asked_for": "what of a source: its head, its count, a scan, names",
}
"""Every fact that the log may contain, and its meaning."""


@cache
def calls() -> list[tuple[Path, ast.Call, ast.Module]]:
    return [*_calls()]


def _calls() -> Iterator[tuple[Path, ast.Call, ast.Module]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if "_log." not in text:
            continue
        module = ast.parse(text)
        for node in ast.walk(module):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"), attr=level)) if level in LEVELS:
                    yield file, node, module
                case _:
                    pass


def names_of(call: ast.Call, module: ast.Module) -> Iterator[str]:
    """Yield the names of a call's facts, also if they were put into a variable before."""
    extra = next((keyword.value for keyword in call.keywords if keyword.arg == "extra"), None)
    match extra:
        case None:
            return
        case ast.Dict():
            tables = [extra]
        case ast.Name(id=name):
            tables = [
                node.value
                for node in ast.walk(module)
                if isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Dict)
                and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
            ]
        case _:
            raise AssertionError(ast.dump(call))
    assert tables
    for table in tables:
        for key in table.keys:
            assert isinstance(key, ast.Constant)
            yield str(key.value)


def test_calls_finds_more_than_40_log_calls() -> None:
    assert len(calls()) > 40


def test_log_calls_use_only_listed_fact_names() -> None:
    """If this fails: use the listed name of the fact, or add the fact to the list if it is a new one."""
    unknown = {
        f"{file}:{call.lineno}": others
        for file, call, module in calls()
        if (others := set(names_of(call, module)) - FACTS.keys())
    }
    assert not unknown


def test_log_messages_contain_no_facts_and_begin_in_lower_case() -> None:
    for file, call, _ in calls():
        message = call.args[1 if getattr(call.func, "attr", "") == "log" else 0]
        assert not isinstance(message, ast.JoinedStr), f"{file}:{call.lineno}: a fact in the message"
        if isinstance(message, ast.Constant) and message.value != "%s":
            assert isinstance(message.value, str)
            assert message.value[0].islower(), f"{file}:{call.lineno}"
            assert "%" not in message.value
