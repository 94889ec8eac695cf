"""A PostgreSQL server for tests, which can be started, stopped, killed and paused."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from notifier.store.postgres.location import Location


def _programs() -> Path | None:
    if chosen := os.environ.get("TESTS_POSTGRES_BIN"):
        return Path(chosen)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else None


PROGRAMS = _programs()


class PostgresServer:
    """A PostgreSQL cluster in a temporary folder. It listens on a Unix socket in that folder, and on TCP (loopback)."""

    def __init__(
        self, *, durable: bool = False, addresses: Sequence[str] = (), primary: "PostgresServer | None" = None
    ) -> None:
        """Create and start a cluster: a replica of `primary`, or an empty one. It also listens on `addresses`."""
        if PROGRAMS is None:
            skip = "there is no PostgreSQL server here: it is in Debian's package postgresql"
            assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
            pytest.skip(skip)
        self.programs = PROGRAMS
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        # The server refuses to run as root.
        self._run_as: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            self._run_as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._durable = durable
        self._addresses = addresses
        self._data = self.folder / "data"
        if primary is None:
            rules = ("-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
            self._run("initdb", "-D", self._data, *rules)
            with (self._data / "pg_hba.conf").open("a") as file:
                # The network has four addresses; this machine has one of them.
                file.writelines(f"host all all {address}/30 trust\n" for address in addresses)
        else:
            how = ("-R", "-X", "stream", "-c", "fast", "--no-sync")
            self._run("pg_basebackup", "-D", self._data, "-d", primary.url(), *how)
        self.start()

    def url(self, **parameters: str) -> str:
        """Return the URL of the database `postgres` over the Unix socket."""
        more = "".join(f"&{name}={value}" for name, value in parameters.items())
        return f"postgresql://postgres@/postgres?host={self.folder}&port={self.port}{more}"

    def tcp_url(self, user: str = "postgres", database: str = "postgres") -> str:
        """Return the URL of a database over TCP."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def tcp_url_of_both(self, other: "PostgresServer") -> str:
        """Return the URL of the database `postgres` with the TCP addresses of this server and of `other`."""
        return f"postgresql://postgres@127.0.0.1:{self.port},127.0.0.1:{other.port}/postgres"

    def location(self, schema: str) -> Location:
        return Location(SecretStr(self.url()), schema)

    def start(self) -> None:
        options = ["-k", str(self.folder), "-p", str(self.port), "-c", "max_connections=60"]
        if not self._durable:
            options += ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=on"]
        if self._addresses:
            options += ["-c", f"listen_addresses={','.join(('127.0.0.1', *self._addresses))}"]
        options += ["-c", "shared_buffers=16MB", "-c", "autovacuum=off"]
        self._run(
            "pg_ctl", "-D", self._data, "-w", "-t", "60", "-l", self.folder / "log", "-o", " ".join(options), "start"
        )

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-m", mode, "stop")

    @contextlib.contextmanager
    def requiring_passwords(self) -> Iterator[None]:
        """Require a password over TCP until the end of the block."""
        rules = self._data / "pg_hba.conf"
        before = rules.read_text()
        try:
            rules.write_text(f"host all all 127.0.0.1/32 scram-sha-256\n{before}")
            self.execute("SELECT pg_reload_conf()")
            yield
        finally:
            rules.write_text(before)
            self.execute("SELECT pg_reload_conf()")

    def pids(self) -> list[int]:
        """Return the ids of the server's processes, the parent's first."""
        parent = int((self._data / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *map(int, children)]

    def signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            os.kill(pid, number)

    def execute(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Execute one statement as an administrator, and return its rows."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def end_session(self, pid: int) -> None:
        """End a session, and wait until it is gone."""
        self.execute("SELECT pg_terminate_backend(%s)", pid)
        deadline = time.monotonic() + 10
        while self.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def remove(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError, FileNotFoundError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [self.programs / program, *map(str, arguments)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            **self._run_as,
        )


@contextlib.contextmanager
def running_postgres(
    *, durable: bool = False, addresses: Sequence[str] = (), primary: PostgresServer | None = None
) -> Iterator[PostgresServer]:
    server = PostgresServer(durable=durable, addresses=addresses, primary=primary)
    try:
        yield server
    finally:
        server.remove()
