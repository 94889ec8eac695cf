"""Reason codes of MQTT 5."""

import pytest

from notifier.destinations.mqtt import outcome_of
from notifier.destinations.outcome import AttemptResult, FailureScope


@pytest.mark.parametrize("code", range(256))
def test_outcome_of_is_delivered_only_for_codes_below_0x80(code: int) -> None:
    assert (outcome_of(code, "words").reason is AttemptResult.DELIVERED) == (code < 0x80)


@pytest.mark.parametrize(
    ("code", "reason", "scope"),
    [
        (0x80, AttemptResult.SERVER_ERROR, FailureScope.UNKNOWN),
        (0x86, AttemptResult.ACCESS_REFUSED, FailureScope.ENDPOINT),
        (0x87, AttemptResult.ACCESS_REFUSED, FailureScope.ENDPOINT),
        (0x90, AttemptResult.TARGET_MISSING, FailureScope.UNKNOWN),
        (0x95, AttemptResult.PAYLOAD_REFUSED, FailureScope.EVENT),
        (0x97, AttemptResult.THROTTLED, FailureScope.PACE),
        (0x99, AttemptResult.PAYLOAD_REFUSED, FailureScope.EVENT),
    ],
)
def test_outcome_of_code_has_reason_scope_and_detail(code: int, reason: AttemptResult, scope: FailureScope) -> None:
    outcome = outcome_of(code, "words")
    assert (outcome.reason, outcome.scope) == (reason, scope)
    assert outcome.detail == f"the broker answers 0x{code:02x}: words"
