"""The destination type `aws` finds credentials, and replaces refused ones."""

import json
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from notifier.clock import SystemClock
from notifier.config.brokers import AwsSettings
from notifier.destinations.aws import AwsDestination
from notifier.destinations.outcome import AttemptResult, FailureScope
from notifier.store.tables.outbox import Delivery
from tests.support.destinations import MakeEvent, Receiver

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:training"
SECRET, TOKEN = "secret-of-the-found-key", "token-of-the-found-session"
TAKEN = json.dumps({"Successful": [{"Id": "0", "MessageId": "m"}], "Failed": []}).encode()


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide all AWS credentials of this machine, so that botocore finds only those of a test."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "DEFAULT_PROFILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


class Queue:
    """A simulated SQS queue, which refuses the keys in `refused`, and a source of a container role's credentials."""

    def __init__(self, receiver: Receiver) -> None:
        self.url = receiver.url
        self.keys: list[str] = []
        """The access keys of the requests, in order."""
        self.tokens: list[str | None] = []
        self.refused: set[str] = set()
        self.roles: list[str] = []
        """The access keys that the role will return, in order."""
        receiver.script = self.answer

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/role":
            assert request.headers["Authorization"] == "of-the-container"
            role = {"AccessKeyId": self.roles.pop(0), "SecretAccessKey": SECRET, "Token": TOKEN}
            return web.json_response({**role, "Expiration": "2099-01-01T00:00:00Z"})
        key = request.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
        self.keys.append(key)
        self.tokens.append(request.headers.get("X-Amz-Security-Token"))
        if key not in self.refused:
            return web.Response(body=TAKEN)
        words = f"The token {TOKEN} for {SECRET} has expired"
        return web.json_response({"__type": "x#ExpiredTokenException", "message": words}, status=400)


@pytest.fixture
def queue(receiver: Receiver) -> Queue:
    return Queue(receiver)


@pytest.fixture
def destination(queue: Queue, session: aiohttp.ClientSession) -> AwsDestination:
    settings = AwsSettings.model_validate({"type": "aws", "arn": QUEUE, "endpoint_url": queue.url})
    return AwsDestination("bus", settings, session, SystemClock())


async def test_credentials_come_from_the_environment_variables(
    queue: Queue, destination: AwsDestination, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ACCESS_KEY_ID", "AKIA1"), ("SECRET_ACCESS_KEY", SECRET), ("SESSION_TOKEN", TOKEN)):
        monkeypatch.setenv(f"AWS_{name}", value)
    outcome = await destination.send([Delivery(make_event(), "bus")])
    assert (outcome.reason, outcome.detail) == (AttemptResult.DELIVERED, "message id m")
    assert (queue.keys, queue.tokens) == (["AKIA1"], [TOKEN])


def write_profile(folder: Path, key: str) -> None:
    (folder / "credentials").write_text(f"[gate]\naws_access_key_id={key}\naws_secret_access_key={SECRET}\n")


async def test_profile_with_a_replaced_key_is_read_again_in_the_same_attempt(
    queue: Queue,
    destination: AwsDestination,
    make_event: MakeEvent,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "gate")
    write_profile(tmp_path, "AKIA1")
    assert (await destination.send([Delivery(make_event(1), "bus")])).reason is AttemptResult.DELIVERED
    queue.refused.add("AKIA1")
    write_profile(tmp_path, "AKIA2")
    assert (await destination.send([Delivery(make_event(2), "bus")])).reason is AttemptResult.DELIVERED
    assert queue.keys == ["AKIA1", "AKIA1", "AKIA2"]


async def test_container_role_is_requested_again_when_its_credentials_are_refused(
    queue: Queue, destination: AwsDestination, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{queue.url}/role")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of-the-container")
    queue.roles = ["ASIA1", "ASIA2"]
    for number in (1, 2):
        assert (await destination.send([Delivery(make_event(number), "bus")])).reason is AttemptResult.DELIVERED
    assert (queue.keys, queue.roles) == (["ASIA1", "ASIA1"], ["ASIA2"])
    queue.refused.add("ASIA1")
    assert (await destination.send([Delivery(make_event(3), "bus")])).reason is AttemptResult.DELIVERED
    assert queue.keys[2:] == ["ASIA1", "ASIA2"]


async def test_refused_credentials_are_not_in_the_outcome_or_the_request_log(
    queue: Queue, destination: AwsDestination, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ACCESS_KEY_ID", "AKIA1"), ("SECRET_ACCESS_KEY", SECRET), ("SESSION_TOKEN", TOKEN)):
        monkeypatch.setenv(f"AWS_{name}", value)
    queue.refused.add("AKIA1")
    outcome = await destination.send([Delivery(make_event(), "bus")])
    assert (outcome.reason, outcome.scope) == (AttemptResult.ACCESS_REFUSED, FailureScope.ENDPOINT)
    assert "ExpiredTokenException" in outcome.detail
    assert outcome.request is not None
    assert not any(secret in f"{outcome} {outcome.request()}" for secret in (SECRET, TOKEN))
    # The same credentials are not tried twice.
    assert queue.keys == ["AKIA1"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "there are no AWS credentials: set access_key_id, or use a role or a profile"),
        ({"AWS_PROFILE": "nowhere"}, "could not be read: The config profile (nowhere) could not be found"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/role"}, "could not be read: Error when retrieving"),
    ],
)
async def test_missing_or_unreadable_credentials_are_named_in_the_outcome(
    variables: dict[str, str],
    words: str,
    queue: Queue,
    destination: AwsDestination,
    make_event: MakeEvent,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    # botocore waits a second between two requests to a container.
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    outcome = await destination.send([Delivery(make_event(), "bus")])
    assert (outcome.reason, outcome.scope) == (AttemptResult.ACCESS_REFUSED, FailureScope.ENDPOINT)
    assert words in outcome.detail
    assert not queue.keys
    assert not caplog.records
