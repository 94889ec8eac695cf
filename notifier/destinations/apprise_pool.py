"""A pool of processes that run the library apprise, shared by all destinations.

Processes are reused, because a process needs about 45 MB and takes half a second to start.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from pathlib import Path

import orjson

from notifier.process import module_search_path

MAX_PROCESSES = 2
"""The maximum number of processes at once, each sending one message at a time."""

MAX_SLOW_CALLS = 1
"""The maximum number of simultaneous calls to services whose last message failed, because these may be slow."""

KEEP_SECONDS = 300.0
"""Seconds after which an idle process is ended."""

_PASSED_VARIABLES = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
)
"""The environment variables that a process gets. Other variables are withheld, because they may hold tokens; the
variables that name proxies are part of each call instead."""

_SCRIPT = Path(__file__).with_name("apprise_subprocess.py")


class ApprisePool:
    """Calls apprise in a pool of processes; each process handles one call at a time."""

    def __init__(self, *, keep_seconds: float = KEEP_SECONDS) -> None:
        """Initialise with the seconds for which idle processes are kept; with 0, a process is ended after one call."""
        self._keep_seconds = keep_seconds
        self._slots = asyncio.Semaphore(MAX_PROCESSES)
        self._slow_slots = asyncio.Semaphore(MAX_SLOW_CALLS)
        self._idle: list[Process] = []
        self._idle_timer: asyncio.TimerHandle | None = None
        self._end_tasks: set[asyncio.Task[None]] = set()

    async def call(self, request: bytes, timeout: float, on_taken: Callable[[str], None], *, slow: bool) -> bytes:
        """Send a call (one line of JSON) to a process, and return its answer; b"" if the process ends without one.

        `on_taken` is called with the key of each target as soon as the target has the message. `timeout` (seconds)
        begins when a process is available. At most MAX_SLOW_CALLS calls with `slow` run at once. Raises TimeoutError,
        and OSError if no process can be started.
        """
        if slow:
            async with self._slow_slots, self._slots:
                return await self._call(request, timeout, on_taken)
        async with self._slots:
            return await self._call(request, timeout, on_taken)

    async def close(self) -> None:
        """End all processes."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        idle, self._idle = self._idle, []
        for process in idle:
            await _end(process)
        if self._end_tasks:
            await asyncio.wait(self._end_tasks)

    async def _call(self, request: bytes, timeout: float, on_taken: Callable[[str], None]) -> bytes:
        process = self._take_idle() or await _start_process()
        answer = b""
        try:
            async with asyncio.timeout(timeout):
                answer = await _exchange(process, request, on_taken)
        finally:
            if answer and self._keep_seconds:
                self._add_idle(process)
            else:
                await _end(process)
        return answer

    def _take_idle(self) -> Process | None:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
        return None

    def _add_idle(self, process: Process) -> None:
        self._idle.append(process)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = asyncio.get_running_loop().call_later(self._keep_seconds, self._end_idle)

    def _end_idle(self) -> None:
        idle, self._idle = self._idle, []
        for process in idle:
            ending = asyncio.create_task(_end(process))
            self._end_tasks.add(ending)
            ending.add_done_callback(self._end_tasks.discard)


async def _start_process() -> Process:
    # The process gets its own session, so that Ctrl-C does not end it: a stopping daemon lets running attempts finish.
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-Ps",
        str(_SCRIPT),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        start_new_session=True,
        limit=2**20,
        env={
            **{name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ},
            "PYTHONPATH": module_search_path(),
        },
    )


async def _exchange(process: Process, request: bytes, on_taken: Callable[[str], None]) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process was started without pipes")
    try:
        process.stdin.write(request + b"\n")
        await process.stdin.drain()
        while (line := await process.stdout.readline()).startswith(b'"'):
            on_taken(orjson.loads(line))
    except (ConnectionError, ValueError):
        # The process ended, or its answer was longer than any valid answer.
        return b""
    return line


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    # This also closes the process's pipes.
    await process.communicate()
