"""Where a poll that finds nothing new spends its time: the steps of Python's interpreter, by part of the program.

    python -m tests.benchmarks.poll_steps [--sources 20] [--interval 5] [--seconds 30]

Unlike time, the number of steps (opcodes) is nearly the same in each run, and on a machine that does other work. They
are counted in all threads of the daemon, with `sys.settrace`, which does not see what C code does. The minimum is the
loop of `sources`, which sends the same two requests and ignores the answers.
"""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import aiohttp

import notifier
from tests.benchmarks.accounts import HEAD_PAGE
from tests.benchmarks.common import beside
from tests.benchmarks.sources import RECORDS, configuration, next_polls, poll_barely

_OURS: Final = Path(notifier.__file__).parent
_LIBRARIES: Final = Path(sysconfig.get_path("purelib"))
_EVENT_LOOP: Final = ("asyncio", "selectors")


class StepCounter:
    """Counts the steps of all threads by function, from SIGUSR1 to SIGUSR2; then writes them into a file, by part."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._is_counting = False
        self._steps: Counter[CodeType] = Counter()

    def install(self) -> None:
        """Trace this thread and all that are started from now on."""
        signal.signal(signal.SIGUSR1, lambda *_: setattr(self, "_is_counting", True))
        signal.signal(signal.SIGUSR2, lambda *_: self._write())
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def _trace(self, frame: FrameType, _event: str, _argument: object) -> Callable[..., Any] | None:
        if not self._is_counting:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._count

    def _count(self, frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        if event == "opcode":
            self._steps[frame.f_code] += 1
        return self._count

    def _write(self) -> None:
        self._is_counting = False
        by_part: Counter[str] = Counter()
        for code, steps in self._steps.items():
            by_part[part_of(Path(code.co_filename))] += steps
        self._file.write_text(json.dumps(by_part))


def part_of(file: Path) -> str:
    """Return the part of the program to which a file belongs: one of our packages, a library, or the event loop."""
    if file.is_relative_to(_OURS):
        return f"notifier/{file.relative_to(_OURS).parts[0].removesuffix('.py')}"
    if file.is_relative_to(_LIBRARIES):
        return file.relative_to(_LIBRARIES).parts[0]
    if any(name in (*file.parts, file.stem) for name in _EVENT_LOOP):
        return "asyncio"
    return "Python's other libraries"


def count_steps(file: Path, arguments: list[str]) -> None:
    """Run the daemon, or the minimum's loop, and count its steps."""
    StepCounter(file).install()
    if arguments[0] == "bare":
        asyncio.run(poll_barely(arguments[1], int(arguments[2]), float(arguments[3])))
        return
    from notifier.cli.app import main as run_program  # noqa: PLC0415 - the minimum does not need it

    sys.argv = ["notifier", *arguments]
    run_program()


def steps_of(url: str, seconds: float, arguments: list[str], wait: Callable[[], object]) -> dict[str, float]:
    """Return the steps of a program for each of its polls, by part; `wait` returns when it only polls."""
    with tempfile.NamedTemporaryFile() as result:
        command = [sys.executable, "-m", "tests.benchmarks.poll_steps", "--count-into", result.name, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait()
            asyncio.run(polls_since_last_call(url))
            process.send_signal(signal.SIGUSR1)
            time.sleep(seconds)
            process.send_signal(signal.SIGUSR2)
            polls = asyncio.run(polls_since_last_call(url))
            time.sleep(1)
            return {part: steps / polls for part, steps in json.loads(Path(result.name).read_text()).items()}
        finally:
            process.kill()
            process.wait()


async def polls_since_last_call(url: str) -> int:
    """Return how many polls have arrived at all accounts."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/control/arrivals") as response:
        return sum(len(moments) for moments in (await response.json()).values())


def main() -> None:
    """Count the steps of both programs, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=20)
    parser.add_argument("--interval", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--count-into", type=Path, help=argparse.SUPPRESS)
    asked, arguments = parser.parse_known_args()
    if asked.count_into is not None:
        count_steps(asked.count_into, arguments)
        return
    numbers = str(asked.sources), str(asked.interval)
    with beside("accounts.py", str(asked.sources), str(RECORDS)) as url, tempfile.TemporaryDirectory() as folder:
        minimum = steps_of(url, asked.seconds, ["bare", url, *numbers], lambda: time.sleep(2 * asked.interval))
        config, state_file = Path(folder, "config.toml"), Path(folder, "notifier.db")
        config.write_text("\n".join(configuration(url, asked.sources, asked.interval, state_file)))

        def wait_until_quiet() -> None:
            next_polls(state_file, asked.interval)
            # The first poll after a sweep still parses its page.
            time.sleep(2 * asked.interval)

        ours = steps_of(url, asked.seconds, ["run", "--config", str(config)], wait_until_quiet)
    print(f"{'steps a poll':<28}{'minimum':>10}{'notifier':>10}     a page of {HEAD_PAGE} records")
    for part in sorted({*minimum, *ours}, key=lambda part: -ours.get(part, 0)):
        print(f"{part:<28}{minimum.get(part, 0):>10.0f}{ours.get(part, 0):>10.0f}")
    print(f"{'all':<28}{sum(minimum.values()):>10.0f}{sum(ours.values()):>10.0f}")


if __name__ == "__main__":
    main()
