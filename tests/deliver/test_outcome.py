import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.deliver.outcome import Reason, Trouble, reason_of_status, reason_of_transport, trouble
from notifier.transport import TransportReason


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_who_is_in_trouble(reason: Reason) -> None:
    assert (trouble(reason) is Trouble.NONE) == (reason is Reason.DELIVERED)


@pytest.mark.parametrize("reason", [Reason.GONE, Reason.WEBHOOK_REVOKED])
def test_only_a_peer_that_says_so_disables_its_destination(reason: Reason) -> None:
    assert trouble(reason) is Trouble.REVOKED


@pytest.mark.parametrize("reason", [Reason.REFUSED, Reason.PAYLOAD_REFUSED, Reason.UNSENDABLE])
def test_a_refusal_of_one_request_is_no_trouble_of_the_endpoint(reason: Reason) -> None:
    assert trouble(reason) is Trouble.EVENT


@given(st.integers(100, 999))
def test_success_is_2xx_and_nothing_else(status: int) -> None:
    assert (reason_of_status(status) is Reason.DELIVERED) == (200 <= status <= 299)


@given(st.integers(100, 999))
def test_what_keeps_everybody_out_is_endpoint_trouble(status: int) -> None:
    everybody = status in {408, 425, 429} or not (200 <= status <= 299 or 400 <= status <= 499)
    assert (trouble(reason_of_status(status)) is Trouble.ENDPOINT) == everybody


@pytest.mark.parametrize("reason", TransportReason)
def test_no_whole_answer_is_endpoint_trouble(reason: TransportReason) -> None:
    assert trouble(reason_of_transport(reason)) is Trouble.ENDPOINT


@pytest.mark.parametrize("reason", [one for one in TransportReason if one is not TransportReason.ANSWER_TOO_LARGE])
def test_a_transport_s_reason_keeps_its_word(reason: TransportReason) -> None:
    assert reason_of_transport(reason).value == reason.value
