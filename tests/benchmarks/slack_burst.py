"""Very many completions at once, to a Slack channel at Slack's real limits: how long until all of them are told.

    python -m tests.benchmarks.slack_burst [--completions 500]

The real program watches a simulated account, into which all are entered at once, and posts to a channel that answers
as Slack does: one message a second, bursts of 25, and limits on each message. First with the settings as they are by
default, which tell so many in digests; then with a `digest_above` under which each has a line of its own, ten in a
message. The floor is what Slack allows: one message a second, the first one at once. Takes a minute or so.
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


def told(channel: Channel) -> int:
    """Return how many completions the channel has heard of, in lines or in digests that count them."""
    return sum(int(match[1].replace(",", "")) for match in map(_COUNTED.match, channel.texts) if match)


def enter(account: Account, completions: int) -> set[int]:
    """Enter so many completions at one moment, and return their keys."""
    people = [user["id"] for user in account.users]
    trainings = [training.ids for training in account.trainings]
    return {
        account.add(user=people[number % len(people)], training=trainings[number % len(trainings)]).id
        for number in range(completions)
    }


async def measure(completions: int, destination: str) -> None:
    """Enter so many completions, and print what the channel heard, and when."""
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
                await until(lambda: told(channel) >= completions, deadline=120 + completions / 10)
            finally:
                await program.stop()
    show(channel, keys, began)
    what = "in lines" if destination else "in digests"
    report(f"floor {what}", [(len(channel.at) - 1) / LEAK], "s")
    report(f"from entry to last message {what}", [channel.at[-1] - began], "s")
    report(f"not told {what}", [completions - told(channel)], "")


def show(channel: Channel, keys: set[int], began: float) -> None:
    """Print the figures of one measurement."""
    first, last = channel.at[0] - began, channel.at[-1] - began
    lines = channel.keys
    digests = sum("notifier events --after" in text for text in channel.texts)
    # What has a line must have just one; what digests tell, they only count.
    twice = len(lines) - len(set(lines))
    print(f"  completions told            {told(channel):>6} of {len(keys)}")
    print(f"  in lines of their own       {len(keys & set(lines)):>6}, {twice} of them twice")
    print(f"  messages                    {len(channel.texts):>6}, {digests} of them digests")
    print(f"  refused by Slack            {len(channel.refused):>6}")
    print(f"  blocks of the largest       {max(channel.sizes):>6} bytes")
    print(f"  from entry to first message {first:>6.1f} s")
    print(f"  from entry to last message  {last:>6.1f} s")
    print(f"  from first to last message  {last - first:>6.1f} s (floor: {(len(channel.at) - 1) / LEAK:.1f} s)")


async def main() -> None:
    """Measure both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=500)
    asked = parser.parse_args()
    print(f"{asked.completions} at once, settings by default")
    await measure(asked.completions, "")
    print(f"{asked.completions} at once, digest_above = {2 * asked.completions}")
    await measure(asked.completions, f"digest_above = {2 * asked.completions}")


if __name__ == "__main__":
    asyncio.run(main())
