"""Reading the answers of AWS, and building requests to AWS."""

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from notifier.destinations.aws import message_group, outcomes_of, reason_of_code, split_into_requests
from notifier.destinations.broker import Message
from notifier.destinations.outcome import AttemptResult
from notifier.http.exchange import Answer

R = AttemptResult


def answer(status: int, body: str) -> Answer:
    return Answer(status, CIMultiDictProxy(CIMultiDict()), body.encode())


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("ThrottlingException", R.THROTTLED),
        ("AccessDeniedException", R.ACCESS_REFUSED),
        ("InvalidSignatureException", R.ACCESS_REFUSED),
        ("RequestExpired", R.ACCESS_REFUSED),
        ("NotAuthorized", R.ACCESS_REFUSED),
        ("NotAuthorizedForDetailTypeException", None),
        ("NotAuthorizedForSourceException", None),
        ("AWS.SimpleQueueService.NonExistentQueue", R.TARGET_MISSING),
        ("ResourceNotFoundException", R.TARGET_MISSING),
        ("BatchRequestTooLong", R.PAYLOAD_REFUSED),
        ("InternalFailure", R.SERVER_ERROR),
        ("Unheard", None),
    ],
)
def test_reason_of_code_returns_the_reason_of_each_error_code(code: str, reason: AttemptResult | None) -> None:
    assert reason_of_code(code) is reason


SNS = "<PublishBatchResponse><PublishBatchResult>%s</PublishBatchResult></PublishBatchResponse>"
PARTLY = (
    "<Failed><member><Id>1</Id><Code>InternalError</Code><Message>later</Message></member></Failed>"
    "<Successful><member><Id>0</Id></member></Successful>"
)


@pytest.mark.parametrize(
    ("service", "status", "body", "reasons"),
    [
        ("sqs", 200, '{"Successful":[{"Id":"0"},{"Id":"1"}]}', (R.DELIVERED, R.DELIVERED)),
        (
            "sqs",
            200,
            '{"Successful":[{"Id":"1"}],"Failed":[{"Id":"0","Code":"InternalError"}]}',
            (R.SERVER_ERROR, R.DELIVERED),
        ),
        ("sqs", 200, '{"Successful":[{"Id":"0"}]}', (R.DELIVERED, R.ANSWER_UNEXPECTED)),
        ("events", 200, '{"FailedEntryCount":0,"Entries":[{"EventId":"a"},{"EventId":"b"}]}', (R.DELIVERED,) * 2),
        (
            "events",
            200,
            '{"FailedEntryCount":1,"Entries":[{"EventId":"a"},{"ErrorCode":"ThrottlingException"}]}',
            (R.DELIVERED, R.THROTTLED),
        ),
        ("sns", 200, SNS % PARTLY, (R.DELIVERED, R.SERVER_ERROR)),
        ("sns", 200, "<html>", (R.ANSWER_UNEXPECTED,) * 2),
        ("sqs", 200, "[]", (R.ANSWER_UNEXPECTED,) * 2),
        ("sqs", 200, "", (R.ANSWER_UNEXPECTED,) * 2),
        ("sqs", 403, "nothing", (R.ACCESS_REFUSED,) * 2),
        ("sqs", 503, "<html>", (R.SERVER_ERROR,) * 2),
        ("sns", 404, "<Error><Code>NotFound</Code><Message>x</Message></Error>", (R.TARGET_MISSING,) * 2),
        ("sqs", 400, '{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"x"}', (R.TARGET_MISSING,) * 2),
        ("sqs", 400, "[1]", (R.REFUSED,) * 2),
    ],
)
def test_outcomes_of_returns_the_outcome_of_each_message(
    service: str, status: int, body: str, reasons: tuple[AttemptResult, ...]
) -> None:
    assert tuple(one.reason for one in outcomes_of(service, answer(status, body), 2)) == reasons


def test_message_group_replaces_forbidden_characters_and_is_cut_to_128() -> None:
    assert message_group(Message("i", "t", "acme", "acme/a b\u00fc-1", b"")) == "acme/a_b_-1"
    assert len(message_group(Message("i", "t", "acme", "x" * 300, b""))) == 128


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([], []),
        ([1_000] * 25, [10, 10, 5]),
        ([100_000] * 5, [2, 2, 1]),
        ([1_000, 2_000_000, 1_000, 1_000], [1, 1, 2]),
        ([239_000, 1_000], [1, 1]),
    ],
)
def test_split_into_requests_limits_messages_and_bytes_of_each_request(sizes: list[int], groups: list[int]) -> None:
    messages = [Message(str(number), "t", "acme", "r", b"x" * size) for number, size in enumerate(sizes)]
    found = list(split_into_requests(messages))
    assert [len(group) for group in found] == groups
    assert [message for group in found for message in group] == messages
