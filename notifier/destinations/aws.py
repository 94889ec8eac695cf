"""The destination type `aws`: an SQS queue, an SNS topic or an EventBridge bus; the ARN says which.

The library botocore finds the credentials and signs the requests. The notifier's own HTTP session sends them.
"""

import asyncio
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import orjson
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from notifier.clock import Clock
from notifier.config.brokers import AwsSettings
from notifier.destinations.broker import CONTENT_TYPE, AttemptError, BrokerDestination, Message, OutcomeCallback
from notifier.destinations.outcome import AttemptResult, Outcome, reason_of_status, reason_of_transport
from notifier.http.exchange import Answer, RequestOptions, send
from notifier.http.proxy import proxy_of
from notifier.http.tls import Certificates, TlsContextCache
from notifier.http.transport_errors import TransportError
from notifier.own_thread import run_in_thread

_MAX_ENTRIES: Final = 10
"""The maximum number of messages in one request; the same for the three services."""
_MAX_BYTES: Final = 240_000
"""The maximum number of bytes of messages in a request: a little less than the 256 KiB that all three services take."""
_ATTRIBUTES_BYTES: Final = 1_000
"""Bytes reserved for the attributes of each message: more than the attributes need."""
_DELIVERED: Final = AttemptResult.DELIVERED
_ANSWER_LIMIT_BYTES: Final = 2**16
_CREDENTIALS_SECONDS: Final = 60.0
"""Seconds after which the credentials are read from botocore again. botocore renews temporary credentials in time."""
_MAX_FOUND_SECRETS: Final = 4
_INVALID_GROUP_CHARACTER: Final = re.compile(r"[^A-Za-z0-9!-/:-@\[-`{-~]")
_LONGEST_GROUP: Final = 128

# botocore logs each failure to find credentials, with a traceback; the outcomes of attempts report it already.
logging.getLogger("botocore").setLevel(logging.CRITICAL + 1)

_REASONS: Final[Sequence[tuple[str, AttemptResult]]] = (
    (r"Throttl|TooManyRequests|OverLimit|LimitExceeded", AttemptResult.THROTTLED),
    (r"AccessDenied|AuthorizationError|AuthFailure|OptInRequired", AttemptResult.ACCESS_REFUSED),
    (r"InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId|ExpiredToken", AttemptResult.ACCESS_REFUSED),
    (r"SignatureDoesNotMatch|InvalidSignature|IncompleteSignature|RequestExpired", AttemptResult.ACCESS_REFUSED),
    (r"MissingAuthenticationToken|NotAuthorized(Exception)?$", AttemptResult.ACCESS_REFUSED),
    (r"QueueDoesNotExist|NonExistentQueue|NotFound", AttemptResult.TARGET_MISSING),
    (
        r"InvalidMessageContents|TooLong|InvalidParameter|InvalidAttributeValue|ValidationException|Malformed",
        AttemptResult.PAYLOAD_REFUSED,
    ),
    (r"InternalFailure|InternalError|InternalException|ServiceUnavailable", AttemptResult.SERVER_ERROR),
)
"""Patterns of AWS error codes, and the result for each. The first matching pattern is used."""


def reason_of_code(code: str) -> AttemptResult | None:
    """Return the result for an error code of AWS; None for an unknown code."""
    return next((reason for pattern, reason in _REASONS if re.search(pattern, code)), None)


class AwsDestination(BrokerDestination):
    """An SQS queue, an SNS topic or an EventBridge bus."""

    def __init__(self, name: str, settings: AwsSettings, session: aiohttp.ClientSession, clock: Clock) -> None:
        super().__init__(name, settings, clock)
        self._settings = settings
        self._session = session
        self._tls_contexts = TlsContextCache(Certificates(settings.ca_file), clock)
        self._target = settings.arn_parts()
        self._url = settings.endpoint()
        self._credentials_lock = asyncio.Lock()
        self._credentials_source: Any = None
        self._credentials: ReadOnlyCredentials | None = None
        self._read_again_at = 0.0
        self._configured_secrets = self._secrets

    def _headers(self, message: Message) -> Mapping[str, str]:
        shown = {"arn": self._settings.arn, "content-type": CONTENT_TYPE, "id": message.id, "type": message.type}
        if self._is_fifo:
            shown |= {"group": message_group(message), "deduplication": message.id}
        return shown

    @property
    def _is_fifo(self) -> bool:
        return self._settings.arn.endswith(".fifo")

    async def _publish(self, messages: Sequence[Message], on_outcome: OutcomeCallback) -> None:
        for part in split_into_requests(messages):
            for message, outcome in zip(part, await self._send(part), strict=True):
                on_outcome(message, outcome)

    async def _send(self, messages: Sequence[Message]) -> list[Outcome]:
        credentials = await self._current_credentials()
        outcomes = await self._send_with(credentials, messages)
        if any(outcome.reason is AttemptResult.ACCESS_REFUSED for outcome in outcomes):
            renewed = await self._credentials_after_refusal(credentials)
            if renewed != credentials:
                refused = [it for it, was in zip(messages, outcomes, strict=True) if was.reason is not _DELIVERED]
                again = iter(await self._send_with(renewed, refused))
                outcomes = [was if was.reason is _DELIVERED else next(again) for was in outcomes]
        return outcomes

    async def _send_with(self, credentials: ReadOnlyCredentials, messages: Sequence[Message]) -> list[Outcome]:
        tls = await self._tls_contexts.context()
        headers, body = self._request(messages)
        request = AWSRequest("POST", self._url, headers=headers, data=body)
        SigV4Auth(credentials, self._target.service, self._target.region).add_auth(request)
        try:
            options = RequestOptions(
                dict(request.headers),
                self._timeout,
                _ANSWER_LIMIT_BYTES,
                truncate=True,
                ssl_context=tls,
                proxy=proxy_of(self._url, ""),
            )
            answer = await send(self._session, "POST", self._url, body, options)
        except TransportError as error:
            raise AttemptError(reason_of_transport(error.reason), error.message) from error
        return outcomes_of(self._target.service, answer, len(messages))

    def _request(self, messages: Sequence[Message]) -> tuple[dict[str, str], bytes]:
        match self._target.service:
            case "sqs":
                url = f"{self._url.rstrip('/')}/{self._target.account}/{self._target.name}"
                entries = [self._entry(number, it) for number, it in enumerate(messages)]
                return _json_request("AmazonSQS.SendMessageBatch", "1.0", {"QueueUrl": url, "Entries": entries})
            case "sns":
                fields = {"Action": "PublishBatch", "Version": "2010-03-31", "TopicArn": self._settings.arn}
                for number, message in enumerate(messages):
                    entry = _form_fields(self._entry(number, message))
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
                return _json_request("AWSEvents.PutEvents", "1.1", {"Entries": events})

    def _entry(self, number: int, message: Message) -> dict[str, Any]:
        """Return a message as an entry of a batch request to SQS or SNS."""
        attributes = {"content-type": CONTENT_TYPE, "id": message.id, "type": message.type, "source": message.source}
        entry: dict[str, Any] = {
            "Id": str(number),
            "MessageBody" if self._target.service == "sqs" else "Message": message.body.decode(),
            "MessageAttributes": {
                key: {"DataType": "String", "StringValue": value} for key, value in attributes.items()
            },
        }
        if self._is_fifo:
            entry |= {"MessageGroupId": message_group(message), "MessageDeduplicationId": message.id}
        return entry

    async def _current_credentials(self) -> ReadOnlyCredentials:
        """Return the credentials for the next request. Raises AttemptError."""
        if self._settings.access_key_id:
            secret = self._settings.secret_access_key.get_secret_value()
            return ReadOnlyCredentials(self._settings.access_key_id, secret, None)
        async with self._credentials_lock:
            now = self._clock.monotonic()
            if self._credentials is None or now >= self._read_again_at:
                self._credentials = found = await run_in_thread(self._read_credentials, "aws-credentials")
                self._read_again_at = now + _CREDENTIALS_SECONDS
                # To a wrong signature, AWS answers with the signed text, which includes a temporary session's token.
                older = self._secrets[len(self._configured_secrets) :]
                secrets = [it for it in (found.secret_key, found.token) if it and it not in older]
                self._secrets = (*self._configured_secrets, *(*secrets, *older)[:_MAX_FOUND_SECRETS])
            return self._credentials

    async def _credentials_after_refusal(self, refused: ReadOnlyCredentials) -> ReadOnlyCredentials:
        """Return newer credentials than `refused` if there are any, else `refused` itself. Raises AttemptError."""
        if self._credentials == refused:
            self._credentials = self._credentials_source = None
        return await self._current_credentials()

    def _read_credentials(self) -> ReadOnlyCredentials:
        """Return the credentials that botocore finds. Blocks; raises AttemptError if there are none."""
        try:
            # Credentials that do not expire are read again, because their file may have been replaced.
            if not isinstance(self._credentials_source, RefreshableCredentials):
                self._credentials_source = Session().get_credentials()
            if self._credentials_source is not None:
                found: ReadOnlyCredentials = self._credentials_source.get_frozen_credentials()
                return found
        except (BotoCoreError, RuntimeError, OSError, ValueError, KeyError) as error:
            words = f"the AWS credentials could not be read: {error}"
            raise AttemptError(AttemptResult.ACCESS_REFUSED, words) from error
        words = "there are no AWS credentials: set access_key_id, or use a role or a profile of this machine"
        raise AttemptError(AttemptResult.ACCESS_REFUSED, words)


def split_into_requests(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Yield messages in groups, one group for each request. A message that is too large is alone in its group."""
    group: list[Message] = []
    room = _MAX_BYTES
    for message in messages:
        if group and (len(group) == _MAX_ENTRIES or len(message.body) > room):
            yield group
            group, room = [], _MAX_BYTES
        group.append(message)
        room -= len(message.body) + _ATTRIBUTES_BYTES
    if group:
        yield group


def message_group(message: Message) -> str:
    """Return a message's group in a FIFO queue or topic. Each record has its own group, so its events stay in order."""
    return _INVALID_GROUP_CHARACTER.sub("_", message.record)[:_LONGEST_GROUP]


def _json_request(target: str, version: str, content: Any) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": f"application/x-amz-json-{version}", "X-Amz-Target": target}, orjson.dumps(content)


def _form_fields(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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
    """Return the outcomes of the `count` messages of a request, from the service's answer."""
    text = answer.body.decode(errors="replace")
    if reason_of_status(answer.status) is not AttemptResult.DELIVERED:
        code, words = _parse_error(text)
        known = reason_of_code(code) or (AttemptResult.ACCESS_REFUSED if answer.status in {401, 403} else None)
        reason = known or reason_of_status(answer.status)
        return [Outcome(reason, answer.status, detail=f"{code}: {words}" if code else words)] * count
    named = _sns_outcomes(text) if service == "sns" else _json_outcomes(text)
    unmentioned = Outcome(
        AttemptResult.ANSWER_UNEXPECTED, answer.status, detail="the answer does not say whether the message was taken"
    )
    return [named.get(str(number), unmentioned) for number in range(count)]


def _delivered_outcome(id_: object) -> Outcome:
    return Outcome(AttemptResult.DELIVERED, detail=f"message id {id_}")


def _failed_outcome(code: str, words: str) -> Outcome:
    return Outcome(reason_of_code(code) or AttemptResult.SERVER_ERROR, detail=f"{code}: {words}")


def _parse_error(text: str) -> tuple[str, str]:
    """Return the error code and the error message in a JSON or XML answer."""
    try:
        error = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _xml_text(text, "Code"), _xml_text(text, "Message") or text
    if not isinstance(error, dict):
        return "", text
    return str(error.get("__type", "")).rpartition("#")[2], str(error.get("message") or error.get("Message") or "")


def _json_outcomes(text: str) -> dict[str, Outcome]:
    """Return the outcomes in an answer of SQS or EventBridge, by message number; the answer may omit some messages."""
    try:
        answer = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    match answer:
        case {"Entries": list(entries)}:
            return {
                str(number): _failed_outcome(str(it["ErrorCode"]), str(it.get("ErrorMessage", "")))
                if it.get("ErrorCode")
                else _delivered_outcome(it.get("EventId"))
                for number, it in enumerate(entries)
                if isinstance(it, dict)
            }
        case {"Successful": list()} | {"Failed": list()}:
            taken = {
                str(it.get("Id")): _delivered_outcome(it.get("MessageId")) for it in answer.get("Successful") or []
            }
            failed = answer.get("Failed") or []
            return taken | {
                str(it.get("Id")): _failed_outcome(str(it.get("Code")), str(it.get("Message", ""))) for it in failed
            }
        case _:
            return {}


def _sns_outcomes(text: str) -> dict[str, Outcome]:
    """Return the outcomes in an answer of SNS, by message number; the answer may omit some messages."""
    taken = {
        _xml_text(it, "Id"): _delivered_outcome(_xml_text(it, "MessageId")) for it in _xml_members(text, "Successful")
    }
    failed = {
        _xml_text(it, "Id"): _failed_outcome(_xml_text(it, "Code"), _xml_text(it, "Message"))
        for it in _xml_members(text, "Failed")
    }
    return taken | failed


def _xml_members(text: str, name: str) -> list[str]:
    part = text.partition(f"<{name}>")[2].partition(f"</{name}>")[0]
    return re.findall(r"<member>(.*?)</member>", part, re.DOTALL)


def _xml_text(text: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return "" if found is None else found[1]
