"""`notifier test`: one sample event, by the real way."""

from typing import TYPE_CHECKING

import orjson
import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Home, Receiver


async def test_a_sample_event_is_sent_and_the_answer_shown(home: "Home", receiver: "Receiver") -> None:
    receiver.says = "thank \x1b[31myou"
    home.configure(hr=receiver.url)
    said = await home.call("test", "hr")
    assert said.code == 0
    facts = dict(line.split(maxsplit=1) for line in said.lines)
    (body,) = receiver.bodies
    event = orjson.loads(body)
    assert (facts["destination"], facts["event"], facts["result"]) == ("hr", event["id"], "delivered")
    assert facts["status"] == "200"
    assert facts["answer"].startswith("thank ")
    assert facts["time"].endswith(" ms")
    assert "\x1b" not in said.out
    assert (event["source"], event["data"]["record"]) == ("/sources/acme", {"sample": True})
    assert not home.state_file.exists()


@pytest.mark.parametrize(
    ("status", "reason", "advice"),
    [
        (500, "server_error", "whether what stands there is up"),
        (401, "refused", "`secret` and `headers`"),
        (410, "gone", "a new `url`"),
    ],
)
async def test_an_event_that_is_not_taken_is_1_with_advice(
    home: "Home", receiver: "Receiver", status: int, reason: str, advice: str
) -> None:
    receiver.status = status
    home.configure(hr=receiver.url)
    said = await home.call("test", "hr")
    assert said.code == 1
    assert f"hr has not taken the event ({reason}): " in said.err
    assert advice in said.err
    assert len(receiver.bodies) == 1


async def test_nobody_there_is_1_with_the_reason(home: "Home") -> None:
    said = await home.call("test", "hr")
    assert said.code == 1
    assert "connect_failed" in said.out
    assert "Error: hr has not taken the event (connect_failed)" in said.err
