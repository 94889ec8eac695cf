"""Which requests are logged: a burst and then a steady rate, with separate limits for failures and successes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.delivery.request_log import BURST, PER_SECOND, LogAllowance, RequestLog
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.store.tables.request_log import SentRequest

SENT = SentRequest((), 0, "", None, "")


@given(st.lists(st.floats(0, 10), max_size=400))
def test_log_allowance_permits_a_burst_and_at_most_a_steady_rate(pauses: list[float]) -> None:
    allowance, now, taken = LogAllowance(), 0.0, 0
    for pause in pauses:
        now += pause
        taken += allowance.take(now)
    assert taken <= BURST + now * PER_SECOND
    assert taken >= min(len(pauses), BURST)


def test_log_allowance_permits_no_more_when_the_clock_goes_back() -> None:
    allowance = LogAllowance()
    assert all(allowance.take(1000.0) for _ in range(BURST))
    assert not allowance.take(0.0)
    assert not allowance.take(0.5)


def test_request_log_logs_failures_after_successes_used_up_their_allowance() -> None:
    log = RequestLog("hr")
    taken = Outcome(AttemptResult.DELIVERED, 200, request=lambda: SENT)
    refused = Outcome(AttemptResult.REFUSED, 422, request=lambda: SENT)
    logged = [log.entry_for(taken, 0.0) for _ in range(BURST + 5)]
    assert logged == [SENT] * BURST + [None] * 5
    assert log.entry_for(refused, 0.0) == SENT
    assert log.entry_for(Outcome(AttemptResult.REFUSED), 0.0) is None


def test_request_log_reports_a_request_that_cannot_be_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> SentRequest:
        raise ZeroDivisionError

    assert RequestLog("hr").entry_for(Outcome(AttemptResult.DELIVERED, request=fail), 0.0) is None
    assert "a request could not be logged" in caplog.text
