"""The destination type `aws`: an SQS queue, an SNS topic or an EventBridge bus; the ARN says which.

botocore finds the credentials and signs; the requests go through the notifier's own HTTP session.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import orjson
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from notifier.clock import Clock
from notifier.config.brokers import AwsSettings
from notifier.destinations.broker import CONTENT_TYPE, AttemptError, BrokerDestination, Message
from notifier.destinations.outcome import AttemptResult, Outcome, reason_of_status, reason_of_transport
from notifier.http.exchange import Answer, post
from notifier.http.proxy import proxy_of
from notifier.http.tls import Certificates, TlsContextCache
from notifier.http.transport_errors import TransportError
from notifier.own_thread import in_thread

_MOST_ENTRIES: Final = 10
"""The most messages in a request (all three services)."""
_ANSWER_LIMIT_BYTES: Final = 2**16
_CREDENTIALS_SECONDS: Final = 60.0
"""Seconds for which found credentials are used before botocore is asked again; it renews temporary ones in time."""
_NOT_IN_A_GROUP: Final = re.compile(r"[^A-Za-z0-9!-/:-@\[-`{-~]")
_LONGEST_GROUP: Final = 128

_REASONS: Final[Sequence[tuple[str, AttemptResult]]] = (
    (r"Throttl|TooManyRequests|OverLimit|LimitExceeded", AttemptResult.THROTTLED),
    (r"AccessDenied|AuthorizationError|AuthFailure|OptInRequired", AttemptResult.ACCESS_REFUSED),
    (r"InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId|ExpiredToken", AttemptResult.ACCESS_REFUSED),
    (r"(SignatureDoesNotMatch|IncompleteSignature|MissingAuthenticationToken)", AttemptResult.ACCESS_REFUSED),
    (r"QueueDoesNotExist|NonExistentQueue|NotFound", AttemptResult.TARGET_MISSING),
    (
        r"InvalidMessageContents|TooLong|InvalidParameter|InvalidAttributeValue|ValidationException|Malformed",
        AttemptResult.PAYLOAD_REFUSED,
    ),
    (r"InternalFailure|InternalError|InternalException|ServiceUnavailable", AttemptResult.SERVER_ERROR),
)
"""The results for error codes that match a pattern."""


def reason_of_code(code: str) -> AttemptResult | None:
    """Return the result for an error code of AWS, or None for an unknown one."""
    return next((reason for pattern, reason in _REASONS if re.search(pattern, code)), None)


class AwsDestination(BrokerDestination):
    """An SQS queue, an SNS topic or an EventBridge bus."""

    def __init__(self, name: str, settings: AwsSettings, session: aiohttp.ClientSession, clock: Clock) -> None:
        super().__init__(name, settings, clock)
        self._settings = settings
        self._session = session
        self._trust = TlsContextCache(Certificates(settings.ca_file), clock)
        self._target = settings.parts()
        self._url = settings.endpoint()
        self._looking = asyncio.Lock()
        self._source: Any = None
        self._credentials: ReadOnlyCredentials | None = None
        self._look_again_at = 0.0

    def _headers(self, message: Message) -> Mapping[str, str]:
        shown = {"arn": self._settings.arn, "content-type": CONTENT_TYPE, "id": message.id, "type": message.type}
        if self._is_fifo:
            shown |= {"group": group_of(message), "deduplication": message.id}
        return shown

    @property
    def _is_fifo(self) -> bool:
        return self._settings.arn.endswith(".fifo")

    async def _publish(self, messages: Sequence[Message], stored: Callable[[Message], None]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for start in range(0, len(messages), _MOST_ENTRIES):
            part = messages[start : start + _MOST_ENTRIES]
            found = await self._send(part)
            for message, outcome in zip(part, found, strict=True):
                if outcome.reason is AttemptResult.DELIVERED:
                    stored(message)
            outcomes += found
        return outcomes

    async def _send(self, messages: Sequence[Message]) -> list[Outcome]:
        credentials = await self._current()
        tls = await self._trust.context()
        headers, body = self._request(messages)
        request = AWSRequest("POST", self._url, headers=headers, data=body)
        SigV4Auth(credentials, self._target.service, self._target.region).add_auth(request)
        try:
            answer = await post(
                self._session,
                self._url,
                body,
                headers=dict(request.headers),
                timeout=self._timeout,
                limit=_ANSWER_LIMIT_BYTES,
                truncate=True,
                ssl_context=tls,
                proxy=proxy_of(self._url, ""),
            )
        except TransportError as error:
            raise AttemptError(reason_of_transport(error.reason), error.message) from error
        return outcomes_of(self._target.service, answer, len(messages))

    def _request(self, messages: Sequence[Message]) -> tuple[dict[str, str], bytes]:
        match self._target.service:
            case "sqs":
                url = f"{self._url.rstrip('/')}/{self._target.account}/{self._target.name}"
                entries = [self._entry(number, it) for number, it in enumerate(messages)]
                return _json("AmazonSQS.SendMessageBatch", "1.0", {"QueueUrl": url, "Entries": entries})
            case "sns":
                fields = {"Action": "PublishBatch", "Version": "2010-03-31", "TopicArn": self._settings.arn}
                for number, message in enumerate(messages):
                    entry = _flat(self._entry(number, message))
                    fields |= {f"PublishBatchRequestEntries.member.{number + 1}.{key}": it for key, it in entry}
                return {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(fields).encode()
            case _:
                events = [
                    {
                        "Source": "completion-notifier",
                        "DetailType": message.type,
                        "Detail": message.body.decode(),
                        "EventBusName": self._settings.arn,
                    }
                    for message in messages
                ]
                return _json("AWSEvents.PutEvents", "1.1", {"Entries": events})

    def _entry(self, number: int, message: Message) -> dict[str, Any]:
        """Return an entry of a batch for SQS or SNS."""
        told = {"content-type": CONTENT_TYPE, "id": message.id, "type": message.type, "source": message.source}
        entry: dict[str, Any] = {
            "Id": str(number),
            "MessageBody" if self._target.service == "sqs" else "Message": message.body.decode(),
            "MessageAttributes": {key: {"DataType": "String", "StringValue": value} for key, value in told.items()},
        }
        if self._is_fifo:
            entry |= {"MessageGroupId": group_of(message), "MessageDeduplicationId": message.id}
        return entry

    async def _current(self) -> ReadOnlyCredentials | Credentials:
        """Return the credentials for the next request. Raises AttemptError."""
        if self._settings.access_key_id:
            return Credentials(self._settings.access_key_id, self._settings.secret_access_key.get_secret_value())
        async with self._looking:
            now = self._clock.monotonic()
            if self._credentials is None or now >= self._look_again_at:
                self._credentials = await in_thread(self._find, "aws-credentials")
                self._look_again_at = now + _CREDENTIALS_SECONDS
            return self._credentials

    def _find(self) -> ReadOnlyCredentials:
        """Return the credentials that botocore finds (blocking)."""
        try:
            if self._source is None:
                self._source = Session().get_credentials()
            if self._source is not None:
                found: ReadOnlyCredentials = self._source.get_frozen_credentials()
                return found
        except BotoCoreError as error:
            words = f"the credentials could not be read: {error}"
            raise AttemptError(AttemptResult.ACCESS_REFUSED, words) from error
        words = "there are no AWS credentials: set access_key_id, or use a role or a profile of this machine"
        raise AttemptError(AttemptResult.ACCESS_REFUSED, words)


def group_of(message: Message) -> str:
    """Return the message group of a FIFO queue or topic, which keeps the events of a record in order."""
    return _NOT_IN_A_GROUP.sub("_", message.record)[:_LONGEST_GROUP]


def _json(target: str, version: str, content: Any) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": f"application/x-amz-json-{version}", "X-Amz-Target": target}, orjson.dumps(content)


def _flat(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names and values of the form fields that represent an entry of a batch."""
    for key, value in entry.items():
        if isinstance(value, str):
            yield key, value
            continue
        for number, (name, inner) in enumerate(value.items(), start=1):
            yield f"{key}.entry.{number}.Name", name
            for part, text in inner.items():
                yield f"{key}.entry.{number}.Value.{part}", text


def outcomes_of(service: str, answer: Answer, count: int) -> list[Outcome]:
    """Return the outcome of each of `count` messages from the answer of a service."""
    said = answer.body.decode(errors="replace")
    if reason_of_status(answer.status) is not AttemptResult.DELIVERED:
        code, words = _of_error(said)
        known = reason_of_code(code) or (AttemptResult.ACCESS_REFUSED if answer.status in {401, 403} else None)
        reason = known or reason_of_status(answer.status)
        return [Outcome(reason, answer.status, detail=f"{code}: {words}" if code else words)] * count
    failed = _failed_of_sns(said) if service == "sns" else _failed_of_json(said)
    if failed is None:
        words = "the answer does not say which messages were taken"
        return [Outcome(AttemptResult.ANSWER_UNEXPECTED, answer.status, detail=words)] * count
    outcomes = []
    for number in range(count):
        code, words = failed.get(str(number), ("", ""))
        reason = (reason_of_code(code) or AttemptResult.SERVER_ERROR) if code else AttemptResult.DELIVERED
        outcomes.append(Outcome(reason, detail=f"{code}: {words}" if code else ""))
    return outcomes


def _of_error(said: str) -> tuple[str, str]:
    """Return the code and the words of an error, in JSON or XML."""
    try:
        error = orjson.loads(said)
    except orjson.JSONDecodeError:
        return _tag(said, "Code"), _tag(said, "Message") or said
    if not isinstance(error, dict):
        return "", said
    return str(error.get("__type", "")).rpartition("#")[2], str(error.get("message") or error.get("Message") or "")


def _failed_of_json(said: str) -> dict[str, tuple[str, str]] | None:
    """Return the error code and text, by number, of the messages that SQS or EventBridge refused; None if unknown."""
    try:
        answer = orjson.loads(said)
    except orjson.JSONDecodeError:
        return None
    match answer:
        case {"FailedEntryCount": int(), "Entries": list(entries)}:
            return {
                str(number): (str(it["ErrorCode"]), str(it.get("ErrorMessage", "")))
                for number, it in enumerate(entries)
                if isinstance(it, dict) and it.get("ErrorCode")
            }
        case {"Successful": list()} | {"Failed": list()}:
            failed = answer.get("Failed") or []
            return {str(it.get("Id")): (str(it.get("Code")), str(it.get("Message", ""))) for it in failed}
        case _:
            return None


def _failed_of_sns(said: str) -> dict[str, tuple[str, str]] | None:
    """Return the error code and text, by number, of the messages that SNS refused; None if unknown."""
    if "<PublishBatchResult>" not in said:
        return None
    failed = said.partition("<Failed>")[2].partition("</Failed>")[0]
    members = re.findall(r"<member>(.*?)</member>", failed, re.DOTALL)
    return {_tag(it, "Id"): (_tag(it, "Code"), _tag(it, "Message")) for it in members}


def _tag(said: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", said)
    return "" if found is None else found[1]
