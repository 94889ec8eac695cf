"""Where a poll that finds nothing new spends its time: the steps of Python's interpreter, by part of the program.

    python -m tests.benchmarks.poll_steps [--sources 20] [--interval 5] [--seconds 30]

The minimum is the loop of `sources`, which sends the same two requests and ignores the answers.
"""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from tests.benchmarks.accounts import HEAD_PAGE
from tests.benchmarks.common import beside
from tests.benchmarks.sources import RECORDS, configuration, next_polls, poll_barely
from tests.benchmarks.steps import StepCounter, print_steps


def count_steps(file: Path, arguments: list[str]) -> None:
    """Run the daemon, or the minimum's loop. Count its steps from SIGUSR1 to SIGUSR2, and write them into `file`."""
    counter = StepCounter()

    def write(*_: object) -> None:
        counter.is_counting = False
        file.write_text(json.dumps(counter.by_part()))

    signal.signal(signal.SIGUSR1, lambda *_: setattr(counter, "is_counting", True))
    signal.signal(signal.SIGUSR2, write)
    counter.install()
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
    options, arguments = parser.parse_known_args()
    if options.count_into is not None:
        count_steps(options.count_into, arguments)
        return
    numbers = str(options.sources), str(options.interval)
    with beside("accounts.py", str(options.sources), str(RECORDS)) as url, tempfile.TemporaryDirectory() as folder:
        minimum = steps_of(url, options.seconds, ["bare", url, *numbers], lambda: time.sleep(2 * options.interval))
        config, state_file = Path(folder, "config.toml"), Path(folder, "notifier.db")
        config.write_text("\n".join(configuration(url, options.sources, options.interval, state_file)))

        def wait_until_quiet() -> None:
            next_polls(state_file, options.interval)
            # The first poll after a sweep still parses its page.
            time.sleep(2 * options.interval)

        ours = steps_of(url, options.seconds, ["run", "--config", str(config)], wait_until_quiet)
    print_steps(f"steps a poll, page of {HEAD_PAGE}", minimum, ours)


if __name__ == "__main__":
    main()
