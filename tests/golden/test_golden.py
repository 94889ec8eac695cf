"""What the program shows to the outside, held as files: help, schemas, HTTP, metrics, log lines and tables.

Only the program itself is started, so that these tests outlive every change of what is inside. Where a change is meant,
`UPDATE_GOLDEN=1 pytest tests/golden` writes the files again, and the difference stands in the commit.
"""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

FILES: Final = Path(__file__).parent / "files"
DEADLINE_SECONDS: Final = 60.0

CONFIGURATION: Final = """
[log]
format = "json"
[store]
path = "notifier.db"
[http]
listen = ""
[sources.acme]
base_url = "{api}"
token = "sandbox"
poll_interval = "3s"
requests_per_minute = 80
[destinations.hr]
type = "http"
url = "http://127.0.0.1:9/hook"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""


def held(name: str, content: str) -> None:
    """Compare with the file of that name, or write it where files are to be updated."""
    file = FILES / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    assert content == file.read_text(encoding="utf-8")


def held_json(name: str, document: Any) -> None:
    """Compare a document, indented, with the file of that name."""
    held(name, json.dumps(document, indent=2, sort_keys=True) + "\n")


def command(*arguments: str) -> list[str]:
    """Return the command line of the program as it is installed beside this interpreter."""
    return [sys.executable, "-m", "notifier", *arguments]


def run(*line: str) -> str:
    """Run a command line to its end and return what it printed."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=DEADLINE_SECONDS, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def printed(*arguments: str) -> str:
    """Run the program to its end and return what it printed."""
    return run(*command(*arguments))


ONE_AFTER_ANOTHER: Final = """
import runpy, sys
for name in sys.argv[1:]:
    sys.argv = ["notifier", name, "--help"]
    try:
        runpy.run_module("notifier", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, name
    print("\\f", end="", flush=True)
"""
"""Prints the help of each command that is named, with a form feed behind it: a process takes half a second to begin."""


def without_times(text: str) -> str:
    """Replace moments, and what a run has of its own, by what they are."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "MOMENT", text)
    return re.sub(r"http://127\.0\.0\.1:\d+", "http://API", text)


def test_help_is_as_it_was() -> None:
    top = printed("--help")
    held("help/notifier.txt", top)
    commands = re.findall(r"^  ([a-z-]+)  ", top[top.index("Commands:") :], re.MULTILINE)
    assert len(commands) > 20
    *texts, _ = run(sys.executable, "-c", ONE_AFTER_ANOTHER, *commands).split("\f")
    for name, text in zip(commands, texts, strict=True):
        held(f"help/{name}.txt", text)


@pytest.mark.parametrize("of", ["config", "event"])
def test_schemas_are_as_they_were(of: str) -> None:
    held(f"schema-{of}.json", printed("schema", of))


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that has read the sandbox's account once."""

    folder: Path
    log: Path

    def fetched(self, path: str) -> str:
        """Ask the daemon over its socket."""
        return asyncio.run(fetched(self.folder / "notifier.db.sock", path))


async def fetched(socket: Path, path: str) -> str:
    """Return the body of an answer that came over a Unix socket."""
    connector = aiohttp.UnixConnector(str(socket))
    async with aiohttp.ClientSession(connector=connector) as session, session.get(f"http://localhost{path}") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()


@contextmanager
def started(*arguments: str, cwd: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the program, and end it with the block."""
    with (
        log.open("wb") as written,
        subprocess.Popen(command(*arguments), cwd=cwd, stdout=written, stderr=written) as process,
    ):
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_SECONDS)


def until_found(log: Path, pattern: str) -> str:
    """Wait for a line of a log; return what the pattern's group matched."""
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        if found := re.search(pattern, log.read_text(encoding="utf-8")):
            return found[1]
        assert "Usage:" not in log.read_text(encoding="utf-8"), log.read_text(encoding="utf-8")
        time.sleep(0.05)
    raise AssertionError(f"{pattern} is not in {log.read_text(encoding='utf-8')}")


def until_read_once(daemon: Running) -> None:
    """Wait until the whole list is known: what is entered meanwhile may put that off by a poll."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not all(it["last_sweep"] and it["next_poll"] for it in _sources(daemon)):
        assert time.monotonic() < end, daemon.fetched("/v1/status")
        time.sleep(0.05)


def _sources(daemon: Running) -> Iterable[dict[str, Any]]:
    sources: dict[str, dict[str, Any]] = json.loads(daemon.fetched("/v1/status"))["sources"]
    return sources.values()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A daemon beside the simulated API."""
    folder = tmp_path_factory.mktemp("golden")
    log = folder / "daemon.log"
    with started("sandbox", "--listen", "127.0.0.1:0", "--rate", "2/s", cwd=folder, log=folder / "sandbox.log"):
        api = until_found(folder / "sandbox.log", r"(http://127\.0\.0\.1:\d+/v1)")
        (folder / "config.toml").write_text(CONFIGURATION.format(api=api), encoding="utf-8")
        (folder / "config.toml").chmod(0o600)
        arguments = ("--config", "config.toml", "run")
        with started(*arguments, cwd=folder, log=log):
            until_found(log, r"(sweep has read the whole list)")
            until_found(log, r"(destination fails)")
            daemon = Running(folder, log)
            until_read_once(daemon)
            yield daemon


def test_what_it_serves_is_described_as_it_was(running: Running) -> None:
    held_json("openapi.json", json.loads(running.fetched("/openapi.json")))


def test_metrics_have_the_names_and_labels_that_they_had(running: Running) -> None:
    series = set()
    for line in running.fetched("/metrics").splitlines():
        name, _, labels = re.sub(r" \S+$", "", line).partition("{")
        if not line.startswith("#"):
            series.add(f"{name} {' '.join(sorted(re.findall(r'([a-z_]+)=', labels)))}".strip())
    held("metrics.txt", "\n".join(sorted(series)) + "\n")


def test_documents_of_the_state_have_the_shape_that_they_had(running: Running) -> None:
    config = ("--config", str(running.folder / "config.toml"))
    with closing(sqlite3.connect(running.folder / "notifier.db")) as db:
        (record,) = db.execute("SELECT subject FROM events ORDER BY sequence").fetchone()
    for name, arguments in {"status": ("status", "--json"), "explain": ("explain", record, "--json")}.items():
        held_json(f"{name}.json", shape(json.loads(printed(*config, *arguments))))


def shape(document: Any) -> Any:
    """Return a document with the kind of each value instead of it."""
    match document:
        case dict():
            return {key: shape(value) for key, value in document.items()}
        case list():
            return [shape(it) for it in document[:1]]
        case bool() | None:
            return str(document)
        case _:
            return type(document).__name__


def test_the_log_has_the_lines_that_it_had(running: Running) -> None:
    kinds = set()
    for line in running.log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        kinds.add(f"{entry['level']} {without_times(entry['message'])} {' '.join(sorted(entry))}")
    held("log.txt", "\n".join(sorted(kinds)) + "\n")


def test_tables_are_as_they_were(running: Running) -> None:
    with closing(sqlite3.connect(running.folder / "notifier.db")) as db:
        rows = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name").fetchall()
    held("tables.sql", "".join(f"{sql};\n" for (sql,) in rows))
