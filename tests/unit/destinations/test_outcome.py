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
def test_failure_scope_is_none_only_for_delivered(reason: AttemptResult) -> None:
    assert (failure_scope(reason) is FailureScope.NONE) == (reason is AttemptResult.DELIVERED)


@pytest.mark.parametrize("reason", [AttemptResult.GONE, AttemptResult.WEBHOOK_REVOKED])
def test_failure_scope_of_gone_and_webhook_revoked_is_permanent(reason: AttemptResult) -> None:
    assert failure_scope(reason) is FailureScope.PERMANENT


@pytest.mark.parametrize(
    "reason",
    [AttemptResult.REFUSED, AttemptResult.PAYLOAD_REFUSED, AttemptResult.PARTLY_TAKEN, AttemptResult.UNSENDABLE],
)
def test_failure_scope_of_a_refused_request_is_the_event(reason: AttemptResult) -> None:
    assert failure_scope(reason) is FailureScope.EVENT


@given(st.integers(100, 999))
def test_reason_of_status_is_delivered_only_for_2xx(status: int) -> None:
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
def test_outcome_of_each_status_has_its_failure_scope(status: int, scope: FailureScope) -> None:
    assert Outcome(reason_of_status(status), status).scope is scope


@given(st.integers(300, 599).filter(lambda status: status != 410), st.floats(0, 86_400))
def test_outcome_with_retry_after_has_the_scope_pace(status: int, retry_after: float) -> None:
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
def test_outcome_of_each_transport_reason_has_its_failure_scope(reason: TransportReason, scope: FailureScope) -> None:
    assert Outcome(reason_of_transport(reason)).scope is scope


@pytest.mark.parametrize("reason", [one for one in TransportReason if one is not TransportReason.ANSWER_TOO_LARGE])
def test_reason_of_transport_keeps_the_value_of_the_reason(reason: TransportReason) -> None:
    assert reason_of_transport(reason).value == reason.value
