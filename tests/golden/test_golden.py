"""The output of the program, which `check_golden` compares with files: help, schemas, HTTP, metrics, log and tables.

The tests only start the program and read its output, so they do not depend on its inner structure. After an intended
change, `UPDATE_GOLDEN=1 pytest tests/golden` writes the files again, and the commit shows the difference.
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


def check_golden(name: str, content: str) -> None:
    """Compare text with the file of this name. If UPDATE_GOLDEN is set, write the file first."""
    file = FILES / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    assert content == file.read_text(encoding="utf-8")


def check_golden_json(name: str, document: Any) -> None:
    """Compare a document, as indented JSON, with the file of this name."""
    check_golden(name, json.dumps(document, indent=2, sort_keys=True) + "\n")


def command(*arguments: str) -> list[str]:
    """Return a command line that runs the program with this interpreter."""
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
"""A script that prints the help of each named command, followed by a form feed.

One process does it for all commands, because the start of a process takes half a second."""


def mask_times(text: str) -> str:
    """Replace times and the API's address, which differ in every run, with placeholders."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "MOMENT", text)
    return re.sub(r"http://127\.0\.0\.1:\d+", "http://API", text)


def test_help_equals_the_golden_files() -> None:
    top = printed("--help")
    check_golden("help/notifier.txt", top)
    commands = re.findall(r"^  ([a-z-]+)  ", top[top.index("Commands:") :], re.MULTILINE)
    assert len(commands) > 20
    *texts, _ = run(sys.executable, "-c", ONE_AFTER_ANOTHER, *commands).split("\f")
    for name, text in zip(commands, texts, strict=True):
        check_golden(f"help/{name}.txt", text)


@pytest.mark.parametrize("of", ["config", "event"])
def test_schemas_equal_the_golden_files(of: str) -> None:
    check_golden(f"schema-{of}.json", printed("schema", of))


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that has read the sandbox's account once."""

    folder: Path
    log: Path

    def fetch_body(self, path: str) -> str:
        """Request a path over the daemon's socket; return the body of the answer."""
        return asyncio.run(fetch_body(self.folder / "notifier.db.sock", path))


async def fetch_body(socket: Path, path: str) -> str:
    """Request a path over a Unix socket; return the body of the answer."""
    connector = aiohttp.UnixConnector(str(socket))
    async with aiohttp.ClientSession(connector=connector) as session, session.get(f"http://localhost{path}") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()


@contextmanager
def started(*arguments: str, cwd: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the program, and end it when the block ends."""
    with (
        log.open("wb") as written,
        subprocess.Popen(command(*arguments), cwd=cwd, stdout=written, stderr=written) as process,
    ):
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_SECONDS)


def wait_for_log_line(log: Path, pattern: str) -> str:
    """Wait until a pattern is found in a log; return what the pattern's group matched."""
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        if found := re.search(pattern, log.read_text(encoding="utf-8")):
            return found[1]
        assert "Usage:" not in log.read_text(encoding="utf-8"), log.read_text(encoding="utf-8")
        time.sleep(0.05)
    raise AssertionError(f"{pattern} is not in {log.read_text(encoding='utf-8')}")


def wait_until_read_once(daemon: Running) -> None:
    """Wait until every source was swept and its next poll is scheduled. A new record can delay this by one poll."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not all(it["last_sweep"] and it["next_poll"] for it in _sources(daemon)):
        assert time.monotonic() < end, daemon.fetch_body("/v1/status")
        time.sleep(0.05)


def _sources(daemon: Running) -> Iterable[dict[str, Any]]:
    sources: dict[str, dict[str, Any]] = json.loads(daemon.fetch_body("/v1/status"))["sources"]
    return sources.values()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A daemon that watches the simulated API."""
    folder = tmp_path_factory.mktemp("golden")
    log = folder / "daemon.log"
    with started("sandbox", "--listen", "127.0.0.1:0", "--rate", "2/s", cwd=folder, log=folder / "sandbox.log"):
        api = wait_for_log_line(folder / "sandbox.log", r"(http://127\.0\.0\.1:\d+/v1)")
        (folder / "config.toml").write_text(CONFIGURATION.format(api=api), encoding="utf-8")
        (folder / "config.toml").chmod(0o600)
        arguments = ("--config", "config.toml", "run")
        with started(*arguments, cwd=folder, log=log):
            wait_for_log_line(log, r"(sweep has read the whole list)")
            wait_for_log_line(log, r"(destination fails)")
            daemon = Running(folder, log)
            wait_until_read_once(daemon)
            yield daemon


def test_openapi_document_equals_the_golden_file(running: Running) -> None:
    check_golden_json("openapi.json", json.loads(running.fetch_body("/openapi.json")))


def test_metric_names_and_labels_equal_the_golden_file(running: Running) -> None:
    series = set()
    for line in running.fetch_body("/metrics").splitlines():
        name, _, labels = re.sub(r" \S+$", "", line).partition("{")
        if not line.startswith("#"):
            series.add(f"{name} {' '.join(sorted(re.findall(r'([a-z_]+)=', labels)))}".strip())
    check_golden("metrics.txt", "\n".join(sorted(series)) + "\n")


def test_json_of_status_and_explain_has_the_shape_of_the_golden_files(running: Running) -> None:
    config = ("--config", str(running.folder / "config.toml"))
    with closing(sqlite3.connect(running.folder / "notifier.db")) as db:
        (record,) = db.execute("SELECT subject FROM events ORDER BY sequence").fetchone()
    for name, arguments in {"status": ("status", "--json"), "explain": ("explain", record, "--json")}.items():
        check_golden_json(f"{name}.json", shape(json.loads(printed(*config, *arguments))))


def shape(document: Any) -> Any:
    """Return a copy of a document with the name of its type in place of each value."""
    match document:
        case dict():
            return {key: shape(value) for key, value in document.items()}
        case list():
            return [shape(it) for it in document[:1]]
        case bool() | None:
            return str(document)
        case _:
            return type(document).__name__


def test_log_lines_equal_the_golden_file(running: Running) -> None:
    kinds = set()
    for line in running.log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        kinds.add(f"{entry['level']} {mask_times(entry['message'])} {' '.join(sorted(entry))}")
    check_golden("log.txt", "\n".join(sorted(kinds)) + "\n")


def test_database_tables_equal_the_golden_file(running: Running) -> None:
    with closing(sqlite3.connect(running.folder / "notifier.db")) as db:
        rows = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name").fetchall()
    check_golden("tables.sql", "".join(f"{sql};\n" for (sql,) in rows))
