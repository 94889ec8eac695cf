"""`notifier test`: one sample event, sent in the same way as real events."""

from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.ports import free_port
from tests.support.proxies import PASSWORD, ForwardProxy, forward_proxy

__all__ = ["forward_proxy"]

if TYPE_CHECKING:
    from tests.support.command_line import Home, Receiver


async def test_test_command_sends_a_sample_event_and_shows_the_answer(home: "Home", receiver: "Receiver") -> None:
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
        (500, "server_error", "whether the receiver is running"),
        (401, "refused", "`secret` and `headers`"),
        (410, "gone", "a new `url`"),
    ],
)
async def test_test_command_with_a_rejected_event_exits_1_with_advice(
    home: "Home", receiver: "Receiver", status: int, reason: str, advice: str
) -> None:
    receiver.status = status
    home.configure(hr=receiver.url)
    said = await home.call("test", "hr")
    assert said.code == 1
    assert f"hr did not accept the event ({reason}): " in said.err
    assert advice in said.err
    assert len(receiver.bodies) == 1


async def test_test_command_without_a_receiver_exits_1_with_the_reason(home: "Home") -> None:
    said = await home.call("test", "hr")
    assert said.code == 1
    assert "connect_failed" in said.out
    assert "Error: hr did not accept the event (connect_failed)" in said.err


@pytest.mark.parametrize(
    ("kind", "scheme", "status"), [("teams", "http", "200"), ("apprise", "json", "-")], ids=["teams", "apprise"]
)
async def test_test_command_sends_a_sample_event_to_teams_and_apprise(
    home: "Home", receiver: "Receiver", kind: str, scheme: str, status: str
) -> None:
    url = receiver.url.replace("http", scheme, 1)
    home.configure(more=f'[destinations.people]\ntype = "{kind}"\nurl = "{url}"\n')
    said = await home.call("test", "people")
    assert said.code == 0
    facts = dict(line.split(maxsplit=1) for line in said.lines)
    assert (facts["destination"], facts["result"], facts["status"]) == ("people", "delivered", status)
    (body,) = receiver.bodies
    assert b"Sample Training (a test by Completion Notifier)" in body
    receiver.status = 500
    said = await home.call("test", "people")
    assert said.code == 1
    assert "people did not accept the event" in said.err


CHANNEL = """
[destinations.channel]
type = "slack"
url = "https://hooks.slack.com/services/T0/B0/xyz"
"""


async def test_preview_shows_the_request_without_secrets_and_sends_nothing(home: "Home", receiver: "Receiver") -> None:
    home.configure(hr=receiver.url, more='headers = { X-Api-Key = "key-of-hr" }\nsecret = "whsec_' + "c2Vj" * 8 + '"')
    said = await home.call("test", "hr", "--preview")
    assert said.code == 0
    assert said.lines[0] == "request 1 of 1, with 1 event"
    headers = dict(line.split(maxsplit=1) for line in said.lines[1:-1])
    event = orjson.loads(said.lines[-1])
    assert headers["x-api-key"] == "..."
    assert headers["webhook-id"] == event["id"]
    assert headers["webhook-signature"].startswith("v1,")
    assert event["data"]["record"] == {"sample": True}
    assert receiver.bodies == []
    assert "key-of-hr" not in said.out
    assert "c2Vj" not in said.out


async def test_preview_of_12_events_shows_2_requests(home: "Home") -> None:
    home.configure(more=CHANNEL)
    said = await home.call("test", "channel", "--preview", "--events", "12")
    assert said.code == 0
    assert [line for line in said.lines if line.startswith("request")] == [
        "request 1 of 2, with 10 events",
        "request 2 of 2, with 2 events",
    ]
    bodies = [orjson.loads(line) for line in said.lines if line.startswith("{")]
    assert [body["text"].splitlines()[0] for body in bodies] == ["10 trainings completed", "2 trainings completed"]
    assert "  • Sample Person 12 completed Sample Training" in said.out
    assert "xyz" not in said.out


async def test_preview_of_60_events_shows_1_digest(home: "Home") -> None:
    home.configure(more=CHANNEL)
    said = await home.call("test", "channel", "--preview", "--events", "60")
    assert said.lines[0] == "request 1 of 1, with 60 events"
    assert "  60 trainings completed" in said.lines


BROKERS = """
[destinations.kafka]
type = "kafka"
servers = "kafka.example.com:9092"
topic = "safety"
[destinations.amqp]
type = "amqp"
url = "amqps://rabbit.example.com"
exchange = "safety"
[destinations.mqtt]
type = "mqtt"
url = "mqtts://mosquitto.example.com"
topic = "safety/{type}"
[destinations.aws]
type = "aws"
arn = "arn:aws:sqs:us-east-1:123456789012:safety"
"""


@pytest.mark.parametrize("destination", ["kafka", "amqp", "mqtt", "aws", "hr", "channel"])
async def test_preview_shows_an_expiring_event_for_brokers_http_and_slack(home: "Home", destination: str) -> None:
    home.configure(more=CHANNEL + BROKERS)
    said = await home.call("test", destination, "--preview", "--kind", "expiring", "--json")
    assert said.code == 0, said.err
    (shown,) = map(orjson.loads, said.lines)
    body = orjson.loads(shown["body"])
    if destination == "channel":
        assert shown["lines"][0].startswith("Sample Person: Sample Training (a test by Completion Notifier) expires on")
    else:
        assert body["type"] == "completion.expiring"
        assert body["data"]["completion"]["valid_until"]


async def test_test_command_sends_no_more_than_one_event(home: "Home", receiver: "Receiver") -> None:
    home.configure(hr=receiver.url)
    said = await home.call("test", "hr", "--events", "3")
    assert said.code == 2
    assert "--events needs --preview" in said.err
    assert receiver.bodies == []


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("slack", "https://hooks.slack.com/services/T0/B0/xyz"),
        ("teams", "https://example.logic.azure.com/workflows/xyz"),
        ("apprise", "json://example.com/xyz"),
    ],
    ids=["slack", "teams", "apprise"],
)
async def test_preview_uses_a_custom_template_and_a_wrong_template_exits_78(home: "Home", kind: str, url: str) -> None:
    home.configure(more=f'[destinations.channel]\ntype = "{kind}"\nurl = "{url}"\ntemplates = "words"\n')
    folder = home.folder / "words"
    folder.mkdir()
    (folder / "completed.j2").write_text("Hurra, {{ person | bold }}!")
    said = await home.call("test", "channel", "--preview")
    assert "  Hurra, Sample Person!" in said.lines
    (folder / "completed.j2").write_text("Hurra,\n{{ nobody }}!")
    for command in (["check"], ["test", "channel"]):
        said = await home.call(*command)
        assert said.code == 78
        assert "destinations.channel.templates: completed.j2, line 2: `nobody` is unknown" in said.err


async def test_test_command_advises_to_check_a_refusing_proxy(home: "Home", forward_proxy: ForwardProxy) -> None:
    forward_proxy.refuses = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    home.configure(hr="https://hr.example.com/hook", more=f'proxy = "{forward_proxy.url_with_credentials}"\n')
    said = await home.call("test", "hr")
    assert said.code == 1
    assert f"the proxy {forward_proxy.address} refused: 403 Forbidden" in said.out
    assert "hr did not accept the event (proxy_refused): check its `proxy`, or the variables HTTPS_PROXY" in said.err
    assert PASSWORD not in said.out + said.err


@pytest.mark.parametrize("fault", ["down", "closes", "speaks no HTTP", "reaches nothing"])
async def test_test_command_with_a_broken_proxy_advises_to_check_it(
    home: "Home", forward_proxy: ForwardProxy, fault: str
) -> None:
    answers = {"closes": b"", "speaks no HTTP": b"SSH-2.0-x\r\n", "reaches nothing": b"HTTP/1.1 502 Down\r\n\r\n"}
    forward_proxy.refuses = answers.get(fault)
    url = f"http://127.0.0.1:{free_port()}" if fault == "down" else forward_proxy.url
    home.configure(hr="https://hr.example.com/hook", more=f'proxy = "{url}"\n')
    said = await home.call("test", "hr")
    assert said.code == 1
    assert "check its `proxy`, or the variables HTTPS_PROXY and NO_PROXY, and whether the proxy is running" in said.err
