"""Every failure of the API has a reason, a remedy, and a sentence that contains no secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.http.transport_errors import TransportError, TransportReason
from notifier.kpa.errors import (
    API_IDENTIFIERS,
    MEANINGS,
    ApiError,
    ApiErrorReason,
    Remedy,
    error_of_answer,
    no_answer_error,
    quoted,
)
from notifier.redact import redact

SECRET = "tKn-0123456789abcdefghijklmnopqrstuvwxyzA"

DOCUMENTED = {
    "api_method_not_found": Remedy.OPERATOR,
    "request_method_invalid": Remedy.REQUEST,
    "request_data_invalid": Remedy.REQUEST,
    "rate_limit_exceeded": Remedy.WAIT,
    "token_missing": Remedy.OPERATOR,
    "token_invalid": Remedy.OPERATOR,
    "token_inactive": Remedy.OPERATOR,
    "token_permission": Remedy.OPERATOR,
    "account_inactive": Remedy.OPERATOR,
    "parameter_unexpected": Remedy.REQUEST,
    "parameter_missing": Remedy.REQUEST,
    "parameter_invalid": Remedy.OPERATOR,
    "server_error": Remedy.WAIT,
    "content_not_found": Remedy.OPERATOR,
}


def test_api_identifiers_are_the_documented_ones() -> None:
    assert set(DOCUMENTED) == API_IDENTIFIERS


@pytest.mark.parametrize(("identifier", "remedy"), DOCUMENTED.items())
def test_error_of_answer_gives_each_identifier_its_reason_and_remedy(identifier: str, remedy: Remedy) -> None:
    failure = error_of_answer(identifier, None, SECRET)
    assert (failure.reason, failure.remedy) == (ApiErrorReason(identifier), remedy)


def test_every_reason_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ApiErrorReason)


def test_no_answer_error_keeps_the_reason_and_message_of_the_transport() -> None:
    for word in TransportReason:
        failure = no_answer_error(TransportError(word, "in the transport's words"), SECRET)
        assert failure.reason.value == word.value
        assert "in the transport's words" in failure.message
        assert failure.remedy is (Remedy.OPERATOR if word in ("certificate_rejected", "proxy_refused") else Remedy.WAIT)


@pytest.mark.parametrize("reason", ApiErrorReason)
def test_api_error_message_has_the_cause_the_advice_and_no_secret(reason: ApiErrorReason) -> None:
    message = ApiError(reason).message
    assert MEANINGS[reason].happened in message
    assert MEANINGS[reason].advice in message
    assert redact(message) == message


@pytest.mark.parametrize(
    "identifier", ["invalid_token", "TOKEN_INVALID", "", "timeout", "http_status", "unknown_error"]
)
def test_error_of_answer_with_an_undocumented_identifier_is_unknown_error(identifier: str) -> None:
    failure = error_of_answer(identifier, "It is so.", SECRET)
    assert failure.reason is ApiErrorReason.UNKNOWN_ERROR
    assert identifier in failure.message
    assert "It is so." in failure.message


@pytest.mark.parametrize("nonsense", [None, True, 5, 1.5, ["token_invalid"], {"error": "token_invalid"}])
def test_error_of_answer_with_another_type_is_unknown_error(nonsense: object) -> None:
    assert error_of_answer(nonsense, nonsense, SECRET).message == ApiError(ApiErrorReason.UNKNOWN_ERROR).message


def test_error_of_answer_hides_the_token() -> None:
    for identifier in ("token_invalid", SECRET, f"no_{SECRET}"):
        failure = error_of_answer(identifier, f"The token `{SECRET}` was not found.", SECRET)
        assert SECRET not in failure.message
        assert "The token `[secret]` was not found." in failure.message


def test_quoted_hides_the_token_before_it_cuts_a_long_text() -> None:
    for before in range(150, 250):
        words = quoted("x" * before + SECRET + "y" * 500, SECRET)
        assert len(words) < 250
        assert SECRET[:5] not in words


def test_quoted_returns_only_the_length_of_a_text_of_megabytes() -> None:
    assert quoted("a" * 30_000_000, SECRET) == "30000000 characters"


@given(st.text())
def test_quoted_returns_one_short_printable_line(text: str) -> None:
    words = quoted(text, SECRET)
    assert words.isprintable()
    assert len(words) < 210
