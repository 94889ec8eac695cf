"""Measures how long it takes to report very many simultaneous completions to a channel with Slack's limits.

    python -m tests.benchmarks.slack_burst [--completions 500]

The real program watches a simulated account, in which all completions are entered at once. It posts to a channel that
answers like Slack: one message a second, bursts of 25, and limits on each message. First, default settings are used,
with which digests report the completions; then a `digest_above` with which each completion has its own line, ten lines
in a message. The minimum is what Slack allows: one message a second, the first one at once. This takes about a minute.
"""

import argparse
import asyncio
import re
import tempfile
import time
from pathlib import Path

from notifier.sandbox.account import Account
from notifier.sandbox.fixtures import build_account
from tests.benchmarks.common import report
from tests.support.program import Program, served
from tests.support.slack_channel import Channel
from tests.support.waiting import until
from tests.support.workers import receiving

HISTORY = 100
"""Records that are there before."""

LEAK = 1.0
"""Messages a second."""

_COUNTED = re.compile(r"([0-9,]+) trainings? completed\b")


def count_reported(channel: Channel) -> int:
    """Return the number of completions in the channel's messages, in lines or counted by digests."""
    return sum(int(match[1].replace(",", "")) for match in map(_COUNTED.match, channel.texts) if match)


def enter(account: Account, completions: int) -> set[int]:
    """Enter completions at the same time, and return their keys."""
    people = [user["id"] for user in account.users]
    trainings = [training.ids for training in account.trainings]
    return {
        account.add(user=people[number % len(people)], training=trainings[number % len(trainings)]).id
        for number in range(completions)
    }


async def measure(completions: int, destination: str) -> None:
    """Enter completions, and print how and when the channel received them."""
    account, channel = build_account(HISTORY), Channel(leak=LEAK)
    with tempfile.TemporaryDirectory() as folder:
        program = Program(Path(folder))
        async with receiving() as receiver, served(account) as api:
            receiver.answer = channel.answer
            program.config.write_text(f"""
[store]
path = "notifier.db"
[http]
listen = ""
[sources.acme]
base_url = "{api}"
token = "sandbox"
poll_interval = "1s"
requests_per_minute = 600
[destinations.channel]
type = "slack"
url = "{receiver.url}"
{destination}
""")
            program.start()
            try:
                await until(lambda: "sweep has read the whole list" in program.said())
                began = time.monotonic()
                keys = enter(account, completions)
                await until(lambda: count_reported(channel) >= completions, deadline=120 + completions / 10)
            finally:
                await program.stop()
    show(channel, keys, began)
    what = "in lines" if destination else "in digests"
    report(f"minimum {what}", [(len(channel.at) - 1) / LEAK], "s")
    report(f"from entry to last message {what}", [channel.at[-1] - began], "s")
    report(f"not reported {what}", [completions - count_reported(channel)], "")


def show(channel: Channel, keys: set[int], began: float) -> None:
    """Print the figures of one measurement."""
    first, last = channel.at[0] - began, channel.at[-1] - began
    lines = channel.keys
    digests = sum("notifier events --after" in text for text in channel.texts)
    # A completion must not have more than one line; digests only count completions.
    twice = len(lines) - len(set(lines))
    print(f"  completions reported        {count_reported(channel):>6} of {len(keys)}")
    print(f"  in lines of their own       {len(keys & set(lines)):>6}, {twice} of them twice")
    print(f"  messages                    {len(channel.texts):>6}, {digests} of them digests")
    print(f"  refused by Slack            {len(channel.refused):>6}")
    print(f"  blocks of the largest       {max(channel.sizes):>6} bytes")
    print(f"  from entry to first message {first:>6.1f} s")
    print(f"  from entry to last message  {last:>6.1f} s")
    print(f"  from first to last message  {last - first:>6.1f} s (minimum: {(len(channel.at) - 1) / LEAK:.1f} s)")


async def main() -> None:
    """Measure with both settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=500)
    options = parser.parse_args()
    print(f"{options.completions} at once, settings by default")
    await measure(options.completions, "")
    print(f"{options.completions} at once, digest_above = {2 * options.completions}")
    await measure(options.completions, f"digest_above = {2 * options.completions}")


if __name__ == "__main__":
    asyncio.run(main())
