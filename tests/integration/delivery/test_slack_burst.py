"""Very many completions at once, to a channel that enforces Slack's limits: every event arrives."""

import re
import time

import pytest
from msgspec.structs import replace

from notifier.events import Change, Completion, DetectedBy, EventType, Names
from notifier.store.subscriptions import Subscription
from notifier.store.tables.records import Findings, write
from tests.support.completions import completion
from tests.support.slack_channel import BURST, Channel
from tests.support.workers import EVENTS, Rig

SPEEDUP = 10
"""How many times faster than Slack's one message a second a test runs, so that it does not take a minute."""

MINUTE = 60.0


def make_completion(key: int, people: int) -> Completion:
    """Return a completion of a person of its own; after every 30 single ones comes a session of `people` people."""
    session, place = divmod(key - 1, 30 + people)
    group = f"{session}" if place >= 30 else None
    training = f"{session}" if group else f"{key % 7}"
    return replace(completion(f"{key}"), user_id=f"p{key}", training_id=training, group_training_id=group)


async def enter_completions(rig: Rig, count: int, people: int = 40) -> None:
    """Write `count` completions into the state file at once, with names of all kinds and lengths."""
    shapes = ("Ann Lee", "😀" * 150, "אבי לוי", '<!channel> *x* & "\\' * 20, "x" * 400, "Zoë")
    names = {f"p{key}": f"{key} {shapes[key % len(shapes)]}" for key in range(1, count + 1)}
    changes = [
        Change(EventType.CREATED, make_completion(key, people), 1, DetectedBy.HEAD, "entered_since")
        for key in range(1, count + 1)
    ]
    findings = Findings("acme", "acme", changes=changes, names=Names(names, {"0": "Crane " * 60, "1": "Ladder"}))
    await rig.store.run(write, findings, [Subscription("hr", EVENTS)], rig.clock.now_ms())


@pytest.mark.parametrize(("people", "messages"), [(0, 50), (40, 7 * (3 + 1) + 1)])
async def test_slack_sends_500_completions_within_a_minute_and_none_is_refused(
    rig: Rig, people: int, messages: int
) -> None:
    receiver, channel = await rig.receiver(), Channel(leak=SPEEDUP)
    receiver.answer = channel.answer
    await enter_completions(rig, 500, people)
    began = time.monotonic()
    async with rig.running(rig.slack(receiver.url, rate=SPEEDUP, digest_above=600)):
        await rig.settled()
    assert channel.refused == []
    assert channel.keys == list(range(1, 501))
    assert await rig.states() == {"delivered": 500}
    assert time.monotonic() - began < MINUTE / SPEEDUP
    # At Slack's own pace, the first is sent at once and the others at one a second.
    assert len(channel.texts) == messages < MINUTE
    assert sum(f"group session on 27 Feb 2020 · {people} people" in text for text in channel.texts) == (
        7 if people else 0
    )


async def test_slack_sends_500_completions_as_one_digest_that_counts_them_all(rig: Rig) -> None:
    receiver, channel = await rig.receiver(), Channel(leak=1)
    receiver.answer = channel.answer
    await enter_completions(rig, 500)
    async with rig.running(rig.slack(receiver.url)):
        await rig.settled()
    assert channel.refused == []
    (digest,) = channel.texts
    assert digest.startswith("500 trainings completed")
    counted = [int(count) for count in re.findall(r": ([0-9]+)(?=\D|$)", digest)]
    assert sum(counted) == 500
    assert "and 492 others" in digest


async def test_slack_channel_already_at_its_limit_refuses_once_then_gets_everything(rig: Rig) -> None:
    receiver, channel = await rig.receiver(), Channel(leak=1, level=BURST)
    receiver.answer = channel.answer
    await enter_completions(rig, 25)
    async with rig.running(rig.slack(receiver.url)):
        await rig.settled()
    assert channel.refused == [(429, "rate_limited")]
    assert channel.keys == list(range(1, 26))
    assert await rig.states() == {"delivered": 25}
