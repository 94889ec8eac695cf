"""Daemons that share a store in PostgreSQL: one holds the store, the other is the standby."""

import os
import re
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import orjson

from notifier.cli import daemon_client
from notifier.daemon.socket_path import socket_path
from tests.support.ports import free_port
from tests.support.program import SECRET, Program


class Member(Program):
    """`notifier run` with its own folder for all files, as if on its own machine."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        super().__init__(folder)
        self.port = free_port()

    def configure_for(self, database: str, api: str, receiver: str, *, name: str = "pair", more: str = "") -> None:
        self.config.write_text(
            f"""
[store]
url = "{database}"
name = "{name}"
[log]
format = "json"
[http]
listen = "127.0.0.1:{self.port}"
[sources.acme]
base_url = "{api}"
token = "sandbox"
poll_interval = "200ms"
requests_per_minute = 60000
page_size = 1000
names = false
[destinations.hr]
type = "http"
url = "{receiver}/hook"
secret = "{SECRET}"
retry_first = "200ms"
retry_max = "1s"
{more}
"""
        )
        self.config.chmod(0o600)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "STATE_DIRECTORY": str(self.folder)}

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def count(self, words: str) -> int:
        return self.said().count(words)

    @property
    def holds(self) -> bool:
        """Whether the daemon holds the store, according to its metrics; False if they cannot be read."""
        return self._holds() == "1.0"

    @property
    def stands_by(self) -> bool:
        return self._holds() == "0.0"

    def _holds(self) -> str:
        found = re.search(r"^notifier_holds_store{.*} (.*)$", self.get("/metrics")[1], re.MULTILINE)
        return "" if found is None else found[1]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def said_by_page(self) -> str:
        code, page = self.get("/")
        assert code == 503
        return page

    def owners_status(self) -> dict[str, Any] | None:
        assert socket_path(self.folder / "notifier.db").exists()
        answer = daemon_client.request(self.folder / "notifier.db", "GET", "/v1/status")
        return None if answer is None else answer.body

    def errors(self) -> list[dict[str, Any]]:
        """Return the daemon's log entries of the levels error and critical."""
        lines = [orjson.loads(line) for line in self.said().splitlines() if line.startswith("{")]
        return [line for line in lines if line["level"] in ("error", "critical")]


def now() -> float:
    return time.monotonic()
