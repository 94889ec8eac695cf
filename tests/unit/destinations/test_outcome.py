import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.destinations.outcome import (
    AttemptResult,
    FailureScope,
    Outcome,
    failure_scope,
    reason_of_status,
    reason_of_transport,
)
from notifier.http.transport_errors import TransportReason


@pytest.mark.parametrize("reason", AttemptResult)
def test_every_reason_says_who_is_in_failure_scope(reason: AttemptResult) -> None:
    assert (failure_scope(reason) is FailureScope.NONE) == (reason is AttemptResult.DELIVERED)


@pytest.mark.parametrize("reason", [AttemptResult.GONE, AttemptResult.WEBHOOK_REVOKED])
def test_only_a_peer_that_says_so_disables_its_destination(reason: AttemptResult) -> None:
    assert failure_scope(reason) is FailureScope.PERMANENT


@pytest.mark.parametrize(
    "reason",
    [AttemptResult.REFUSED, AttemptResult.PAYLOAD_REFUSED, AttemptResult.PARTLY_TAKEN, AttemptResult.UNSENDABLE],
)
def test_a_refusal_of_one_request_is_no_trouble_of_the_endpoint(reason: AttemptResult) -> None:
    assert failure_scope(reason) is FailureScope.EVENT


@given(st.integers(100, 999))
def test_success_is_2xx_and_nothing_else(status: int) -> None:
    assert (reason_of_status(status) is AttemptResult.DELIVERED) == (200 <= status <= 299)


PACE, ENDPOINT, UNKNOWN, EVENT = (
    FailureScope.PACE,
    FailureScope.ENDPOINT,
    FailureScope.UNKNOWN,
    FailureScope.EVENT,
)


@pytest.mark.parametrize(
    ("status", "scope"),
    [
        *((status, EVENT) for status in (400, 401, 404, 413, 422)),
        *((status, PACE) for status in (425, 429, 503)),
        *((status, UNKNOWN) for status in (408, 500, 502, 504)),
        (302, ENDPOINT),
    ],
)
def test_each_answer_speaks_about_one_of_four_things(status: int, scope: FailureScope) -> None:
    assert Outcome(reason_of_status(status), status).scope is scope


@given(st.integers(300, 599).filter(lambda status: status != 410), st.floats(0, 86_400))
def test_whatever_says_when_to_come_again_speaks_about_the_pace(status: int, retry_after: float) -> None:
    assert Outcome(reason_of_status(status), status, retry_after).scope is PACE


@pytest.mark.parametrize(
    ("reason", "scope"),
    [
        (TransportReason.NAME_NOT_RESOLVED, ENDPOINT),
        (TransportReason.CONNECT_FAILED, ENDPOINT),
        (TransportReason.CERTIFICATE_REJECTED, ENDPOINT),
        (TransportReason.TIMEOUT, UNKNOWN),
        (TransportReason.CONNECTION_LOST, UNKNOWN),
        (TransportReason.PROTOCOL_BROKEN, UNKNOWN),
        (TransportReason.ANSWER_TOO_LARGE, UNKNOWN),
    ],
)
def test_where_no_request_arrived_no_event_can_be_to_blame(reason: TransportReason, scope: FailureScope) -> None:
    assert Outcome(reason_of_transport(reason)).scope is scope


@pytest.mark.parametrize("reason", [one for one in TransportReason if one is not TransportReason.ANSWER_TOO_LARGE])
def test_a_transport_s_reason_keeps_its_word(reason: TransportReason) -> None:
    assert reason_of_transport(reason).value == reason.value
