import base64
import hashlib
import hmac
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from notifier.destinations.webhook.signature import Signer

OLD = "whsec_" + base64.b64encode(b"the old secret, 24 bytes").decode()
NEW = "whsec_" + base64.b64encode(b"the new secret, 24 bytes").decode()
BODY = '{"name":"Zoë 😀"}'.encode()


def signed(*secrets: str, now_ms: int | None = None, body: bytes = BODY) -> dict[str, str]:
    moment = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return Signer(map(SecretStr, secrets)).headers("evt_a", moment, body)


def test_a_receiver_that_uses_the_standard_package_accepts_it() -> None:
    Webhook(NEW).verify(BODY, signed(NEW))


def test_a_receiver_without_the_secret_or_with_another_body_does_not() -> None:
    headers = signed(NEW)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY + b" ", headers)


def test_during_a_rotation_old_and_new_receivers_accept_it() -> None:
    headers = signed(NEW, OLD)
    Webhook(NEW).verify(BODY, headers)
    Webhook(OLD).verify(BODY, headers)
    newest, older = headers["webhook-signature"].split(" ")
    assert newest == signed(NEW, now_ms=int(headers["webhook-timestamp"]) * 1000)["webhook-signature"]
    assert older != newest


def test_without_a_secret_it_says_which_message_and_when_but_not_by_whom() -> None:
    assert signed(now_ms=1_700_000_000_999) == {"webhook-id": "evt_a", "webhook-timestamp": "1700000000"}


@given(st.integers(0, 4_000_000_000_000), st.text())
def test_it_signs_what_the_standard_says(now_ms: int, text: str) -> None:
    headers = signed(NEW, now_ms=now_ms, body=text.encode())
    content = f"evt_a.{now_ms // 1000}.{text}".encode()
    key = base64.b64decode(NEW.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_every_attempt_is_signed_anew() -> None:
    attempts = [signed(NEW, now_ms=second * 1000) for second in (1, 2, 3)]
    assert all(one["webhook-signature"] != other["webhook-signature"] for one, other in pairwise(attempts))
    assert {attempt["webhook-id"] for attempt in attempts} == {"evt_a"}
