"""The daemon as a process: its log, file descriptors, signals and start."""

import asyncio
import fcntl
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

import notifier
from notifier.cli import daemon_client
from notifier.sandbox import Account, documented_account
from notifier.sandbox.account_growth import Growth
from tests.support.program import Program, Receiver, receiving, served
from tests.support.waiting import until

pytestmark = pytest.mark.end_to_end

Process = subprocess.Popen[bytes]

SIGNAL_LIMIT_SECONDS = 15.0
"""The longest time until the daemon ends after a signal, on a busy machine."""


@pytest.fixture
def account() -> Account:
    return documented_account()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as this:
        yield this


@pytest.fixture
async def program(tmp_path: Path, account: Account, receiver: Receiver) -> AsyncIterator[Program]:
    async with served(account) as api:
        this = Program(tmp_path)
        this.configure(api, receiver.url)
        try:
            yield this
        finally:
            if this.process is not None and this.process.poll() is None:
                this.kill()


def command_line(program: Program, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "notifier", "--config", str(program.config), *arguments]


@contextmanager
def running_program(
    program: Program, *arguments: str, stderr: int, stdout: int = subprocess.DEVNULL
) -> Iterator[Process]:
    """Run the program, by default the daemon; `stderr` and `stdout` are file descriptors."""
    line = command_line(program, *(arguments or ("run",)))
    with subprocess.Popen(line, cwd=program.folder, stdout=stdout, stderr=stderr) as process:
        try:
            yield process
        finally:
            process.kill()


async def end_with_signal(process: Process, number: signal.Signals = signal.SIGTERM, within: float = 10.0) -> int:
    """Send a signal to a process, wait until the process ends, and return its exit code."""
    process.send_signal(number)
    return await asyncio.to_thread(process.wait, within)


async def wait_until_up(program: Program) -> None:
    """Wait until the daemon answers requests. (Its socket exists slightly earlier.)"""
    await until(
        lambda: daemon_client.request(program.folder / "notifier.db", "GET", "/healthz") is not None, pause=0.05
    )


async def request_status(program: Program, method: str, path: str) -> int:
    """Send a request over the daemon's socket; return the HTTP status of the answer."""
    connector = aiohttp.UnixConnector(str(program.folder / "notifier.db.sock"))
    async with (
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(5)) as session,
        session.request(method, f"http://localhost{path}") as answer,
    ):
        await answer.read()
        return answer.status


# The log's reader


@contextmanager
def full_pipe() -> Iterator[int]:
    """Yield the writing end of a full pipe that nobody reads."""
    reading_end, writing_end = os.pipe()
    fcntl.fcntl(writing_end, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing_end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing_end, b"\n")
    # The program gets another file description, in blocking mode.
    blocking = os.open(f"/proc/self/fd/{writing_end}", os.O_WRONLY)
    os.close(writing_end)
    try:
        yield blocking
    finally:
        os.close(blocking)
        os.close(reading_end)


@pytest.mark.parametrize("arguments", [("run",), ("run", "--verbose")], ids=" ".join)
async def test_unread_log_does_not_stop_the_daemon(
    program: Program, account: Account, receiver: Receiver, arguments: tuple[str, ...]
) -> None:
    with full_pipe() as pipe, running_program(program, *arguments, stderr=pipe) as process:
        await wait_until_up(program)
        await program.until_status(lambda it: it["sources"]["acme"]["state"] == "ok")
        Growth(account).grow(240)
        await until(lambda: len(receiver.events) == 240)
        assert await request_status(program, "GET", "/v1/status") == 200
        requested_at = time.monotonic()
        assert await end_with_signal(process) == 0
        assert time.monotonic() - requested_at < 5


FLOOD_REQUESTS = 3000
TOKEN = "the-token-of-the-interface"
REFUSED_REQUESTS = (
    b"GET /v1/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    b"POST /v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer wrong\r\nConnection: close\r\n\r\n",
    b"no HTTP " + b"x" * 300 + b"\r\n\r\n",
    (
        b"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nConnection: close\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 11\r\n\r\ntoken=wrong"
    ),
)


async def flood(port: int) -> None:
    """Send requests that the daemon refuses, many in parallel, without waiting for late answers."""
    slots = asyncio.Semaphore(40)

    async def send(request: bytes) -> None:
        async with slots:
            with suppress(ConnectionError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request)
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(), 0.1)
                writer.close()

    await asyncio.gather(*(send(REFUSED_REQUESTS[number % len(REFUSED_REQUESTS)]) for number in range(FLOOD_REQUESTS)))


@contextmanager
def unread_pipe() -> Iterator[tuple[int, Callable[[], bytes]]]:
    """Yield the writing end of a small pipe that nobody reads, and a function that finally reads its content."""
    reading_end, writing_end = os.pipe()
    fcntl.fcntl(writing_end, fcntl.F_SETPIPE_SZ, 4096)

    def read_all() -> bytes:
        os.close(writing_end)
        with open(reading_end, "rb", closefd=False) as pipe:
            return pipe.read()

    try:
        yield writing_end, read_all
    finally:
        os.close(reading_end)


@pytest.mark.parametrize("arguments", [("run",), ("run", "--verbose")], ids=" ".join)
async def test_refused_requests_keep_the_log_small_and_do_not_stop_the_daemon(
    program: Program, account: Account, receiver: Receiver, arguments: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = program.config.read_text().replace('listen = ""', f'listen = "127.0.0.1:{port}"\ntoken = "{TOKEN}"')
    program.config.write_text(text)
    with unread_pipe() as (pipe, read_all), running_program(program, *arguments, stderr=pipe) as process:
        await wait_until_up(program)
        await program.until_status(lambda it: it["sources"]["acme"]["state"] == "ok")
        flooding = asyncio.create_task(flood(port))
        Growth(account).grow(240)
        await until(lambda: len(receiver.events) == 240)
        await flooding
        assert await request_status(program, "GET", "/v1/status") == 200
        process.send_signal(signal.SIGTERM)
        lines = (await asyncio.to_thread(read_all)).splitlines()
        assert await asyncio.to_thread(process.wait, 10) == 0
    facts = [json.loads(line) for line in lines]
    said = b"\n".join(lines)
    assert len(said) < 2 * 2**20
    if arguments == ("run",):
        # Each event has a line in the log. All requests of the peer together cause only a few lines.
        assert len([one for one in facts if "event" not in one]) < 100
    else:
        assert any("left_out" in one for one in facts)
    assert not any(word in said for word in (TOKEN.encode(), b"Bearer wrong"))


async def test_failing_start_with_an_unread_log_ends(program: Program) -> None:
    program.folder.joinpath("notifier.db").write_bytes(b"what is this?" * 1000)
    with full_pipe() as pipe, running_program(program, stderr=pipe) as process:
        assert await asyncio.to_thread(process.wait, 10) == 1


async def test_log_without_a_reader_does_not_stop_work(program: Program, account: Account, receiver: Receiver) -> None:
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    with running_program(program, stderr=writing_end, stdout=writing_end) as process:
        os.close(writing_end)
        await wait_until_up(program)
        await program.until_status(lambda it: it["sources"]["acme"]["state"] == "ok")
        Growth(account).grow(10)
        await until(lambda: len(receiver.events) == 10)
        assert await end_with_signal(process) == 0


async def test_reloads_do_not_reset_the_limit_of_repeated_log_lines(program: Program) -> None:
    program.start()
    await wait_until_up(program)
    for _ in range(60):
        assert await request_status(program, "POST", "/v1/reload") == 200
    await program.stop()
    messages = [json.loads(line)["message"] for line in program.said().splitlines()]
    assert messages.count("the configuration was read again") == 20
    # One more line was logged at the start.
    assert sum(message.startswith("sources.acme.requests_per_minute: ") for message in messages) == 20


# Descriptors


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
async def test_daemon_without_standard_streams_opens_dev_null_in_their_place(
    program: Program, account: Account, receiver: Receiver, closed: str
) -> None:
    with subprocess.Popen(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command_line(program, "run")],
        cwd=program.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    ) as process:
        try:
            await wait_until_up(program)
            await program.until_status(lambda it: it["sources"]["acme"]["state"] == "ok")
            Growth(account).grow()
            await until(lambda: len(receiver.events) == 1)
            for descriptor in range(3):
                assert Path(f"/proc/{process.pid}/fd/{descriptor}").readlink() == Path("/dev/null")
            assert await end_with_signal(process) == 0
        finally:
            process.kill()


def test_command_without_standard_streams_succeeds(tmp_path: Path) -> None:
    program = Program(tmp_path)
    program.configure("http://127.0.0.1:9/v1", "http://127.0.0.1:9")
    for arguments in (("enable", "hr"), ("check",), ("status",), ("events", "--json"), ("--help",)):
        everything_closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command_line(program, *arguments)]
        assert subprocess.run(everything_closed, cwd=program.folder, timeout=30, check=False).returncode == 0, arguments


# Signals at the start


def handles_signal(process: Process, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


DELAYS = (0.0, 0.1, 0.25, 0.45)
"""Seconds from the moment when the daemon handles signals until the test sends one. The imports take 0.3 seconds."""


async def wait_for_handler(process: Process) -> None:
    end = time.monotonic() + 10
    while not handles_signal(process, signal.SIGHUP):
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


def test_signal_handlers_are_installed_before_slow_imports() -> None:
    script = (
        "import sys, signal\nfrom notifier import process\nprocess.prepare(['run'])\n"
        "assert isinstance(signal.getsignal(signal.SIGHUP), process.PendingHangup)\n"
        "import notifier.cli\nprint(*sys.modules.keys() & {'click', 'asyncio', 'logging', 'pydantic', 'aiohttp'})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == []


@pytest.mark.parametrize("delay", DELAYS)
async def test_reload_requested_during_the_start_is_done_afterwards(program: Program, delay: float) -> None:
    program.start()
    assert program.process is not None
    await wait_for_handler(program.process)
    await asyncio.sleep(delay)
    program.process.send_signal(signal.SIGHUP)
    await wait_until_up(program)
    await until(lambda: "the configuration was read again" in program.said())
    await program.stop()


async def test_daemon_ended_during_its_start_exits_with_0(program: Program) -> None:
    for number, delay in [*((signal.SIGTERM, delay) for delay in DELAYS), (signal.SIGINT, 0.0), (signal.SIGINT, 0.25)]:
        program.start()
        assert program.process is not None
        await wait_for_handler(program.process)
        await asyncio.sleep(delay)
        requested_at = time.monotonic()
        assert await end_with_signal(program.process, number) == 0, program.said()
        assert time.monotonic() - requested_at < SIGNAL_LIMIT_SECONDS
        assert "Traceback" not in program.said()
    # The daemons that were ended left nothing that prevents the next start.
    program.start()
    await wait_until_up(program)
    await program.stop()


@pytest.mark.parametrize("arguments", [("events", "--follow"), ("test", "run"), ("--config", "run", "status")])
def test_sighup_ends_commands_other_than_run(arguments: tuple[str, ...]) -> None:
    prepare = f"from notifier import process\nprocess.prepare({arguments!r})\n"
    script = f"{prepare}import signal\nsignal.raise_signal(signal.SIGHUP)"
    assert subprocess.run([sys.executable, "-c", script], timeout=30, check=False).returncode == -signal.SIGHUP


async def test_daemon_ends_at_sigterm_while_the_state_file_is_being_opened(program: Program) -> None:
    # The thread that opens the state file hangs, as on a disk that hangs or in a long migration.
    script = (
        "import sys, time\nfrom notifier.store.file.lock import FileLock\n"
        "def acquire(lock): print('opening', flush=True); time.sleep(60)\nFileLock.acquire = acquire\n"
        "from notifier.cli import main\nsys.exit(main())"
    )
    arguments = [sys.executable, "-c", script, "--config", str(program.config), "run"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "opening\n"
        requested_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.to_thread(process.communicate, timeout=20)
        assert time.monotonic() - requested_at < SIGNAL_LIMIT_SECONDS
    assert process.returncode == 0
    assert json.loads(said.splitlines()[-1])["message"] == "stopped before it was started"


# SIGHUP while it runs


async def test_reload_with_an_internal_error_is_logged_and_the_next_one_works(program: Program) -> None:
    script = (
        "import sys\nfrom notifier.daemon.daemon import Daemon\nreload, faults = Daemon.reload, [RuntimeError('oh')]\n"
        "async def once(self):\n  if faults: raise faults.pop()\n  return await reload(self)\n"
        "Daemon.reload = once\nfrom notifier.cli import main\nsys.exit(main())"
    )
    with program.log.open("ab") as log:
        program.process = subprocess.Popen(
            [sys.executable, "-c", script, "--config", str(program.config), "run"], stderr=log, cwd=program.folder
        )
    await wait_until_up(program)
    program.process.send_signal(signal.SIGHUP)
    await until(lambda: "a reload failed with an internal error" in program.said())
    assert "RuntimeError: oh" in program.said()
    program.process.send_signal(signal.SIGHUP)
    await until(lambda: "the configuration was read again" in program.said())
    await program.stop()


@contextmanager
def daemon_on_terminal(program: Program, *, nohup: bool = False) -> Iterator[tuple[int, int]]:
    """Run the daemon from a shell on a new terminal; yield the daemon's process id and the terminal's main side."""
    before = ["nohup"] if nohup else []
    # This is an interactive shell with job control, which passes SIGHUP to its jobs.
    line = " ".join([*before, *command_line(program, "run"), f"2>>{program.log}"])
    shell, leader = pty.fork()
    if shell == 0:
        os.chdir(program.folder)
        os.execvp("bash", ["bash", "--norc", "-i", "-c", f"{line} & echo $! > pid; wait; exit"])  # noqa: S606
    try:
        end = time.monotonic() + 20
        pid = program.folder / "pid"
        while not (pid.exists() and pid.read_text().strip()):
            assert time.monotonic() < end
            time.sleep(0.01)
        yield int(pid.read_text()), leader
    finally:
        for process in (shell, *map(int, (program.folder / "pid").read_text().split())):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        os.waitpid(shell, 0)
        with suppress(OSError):
            os.close(leader)


def has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


async def test_daemon_ends_when_its_terminal_is_closed(program: Program) -> None:
    with daemon_on_terminal(program) as (pid, leader):
        await wait_until_up(program)
        os.kill(pid, signal.SIGHUP)
        await until(lambda: "the configuration was read again" in program.said())
        os.close(leader)
        # The kernel sends SIGHUP too. The shell, which passes it on, may be slow or have ended.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
        await until(lambda: has_ended(pid))
    assert "the terminal that the daemon was started from was closed" in program.said()
    assert json.loads(program.said().splitlines()[-1])["message"] == "stopped"


async def test_daemon_with_nohup_continues_when_its_terminal_is_closed(program: Program) -> None:
    with daemon_on_terminal(program, nohup=True) as (pid, leader):
        await wait_until_up(program)
        os.close(leader)
        os.kill(pid, signal.SIGHUP)
        await until(lambda: "the configuration was read again" in program.said())
        assert not has_ended(pid)


# The package is replaced while the daemon runs


async def test_daemon_reloads_and_sends_messages_after_its_package_is_deleted(
    tmp_path: Path, account: Account, receiver: Receiver
) -> None:
    shutil.copytree(Path(notifier.__file__).parent, tmp_path / "notifier")
    async with served(account) as api:
        program = Program(tmp_path)
        channel = f'[destinations.channel]\ntype = "slack"\nurl = "{receiver.url}/slack"\nrate = 100\n'
        program.configure(api, receiver.url, more=channel)
        program.start()
        try:
            await wait_until_up(program)
            await until(lambda: program.folder.joinpath("notifier.db.essentials").exists())
            shutil.rmtree(tmp_path / "notifier")
            assert await request_status(program, "POST", "/v1/reload") == 200
            assert await request_status(program, "POST", "/v1/destinations/channel/test") == 200
            Growth(account).grow(60)
            await until(lambda: len(receiver.events) == 60)
            await until(lambda: any(" trainings completed" in message["text"] for message in receiver.slack))
            await program.stop()
        finally:
            if program.process is not None and program.process.poll() is None:
                program.kill()
