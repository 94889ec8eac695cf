"""Verifying the signature of a request, as a receiver does."""

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from notifier.destinations.webhook.signature import Signer, public_key
from notifier.destinations.webhook.verification import TOLERANCE_SECONDS, verify

SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes or more").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret of 24 bytes..").decode()
PRIVATE = "whsk_" + base64.b64encode(b"the thirty-two bytes of the seed").decode()
NOW = 1_795_280_400
BODY = b'{"id": "evt_a"}'


def request(secret: str = SECRET, plain: str = "") -> Mapping[str, str]:
    return Signer([SecretStr(secret)], plain).headers("evt_a", NOW * 1000, BODY)


@given(st.sampled_from([(SECRET, SECRET), (PRIVATE, PRIVATE), (PRIVATE, public_key(PRIVATE))]), st.binary(max_size=99))
def test_verify_accepts_only_the_signed_body_id_and_secret(secrets: tuple[str, str], body: bytes) -> None:
    sender, receiver = secrets
    headers = Signer([SecretStr(sender)]).headers("evt_a", NOW * 1000, body)
    assert verify([OTHER, receiver], headers, body, NOW).is_genuine
    assert not verify([receiver], headers, body + b"x", NOW).is_genuine
    assert not verify([OTHER], headers, body, NOW).is_genuine
    assert not verify([receiver], {**headers, "webhook-id": "evt_b"}, body, NOW).is_genuine


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"webhook-signature": ""}, "the request is not signed"),
        ({"webhook-id": ""}, "no header webhook-id"),
        ({"webhook-timestamp": "soon"}, "is not a number"),
        ({"webhook-timestamp": "\u0664"}, "is not a number"),
        ({"webhook-timestamp": str(NOW - TOLERANCE_SECONDS - 1)}, "301 seconds old"),
        ({"webhook-timestamp": str(NOW + TOLERANCE_SECONDS + 1)}, "301 seconds in the future"),
        ({"webhook-signature": "v1,\xff"}, "no signature was made"),
        ({"webhook-signature": "v1"}, "no signature was made"),
        ({"webhook-signature": "v2,AAAA"}, "no signature was made"),
        ({"webhook-signature": "v1a,AAAA"}, "no signature was made"),
        ({"webhook-signature": "v1a,not base64"}, "no signature was made"),
    ],
)
def test_verify_returns_the_reason_for_a_rejection(changes: dict[str, Any], reason: str) -> None:
    verdict = verify([SECRET, public_key(PRIVATE)], {**request(), **changes}, BODY, NOW)
    assert not verdict.is_genuine
    assert reason in verdict.reason


def test_verify_checks_a_plain_hash_if_there_is_no_signature() -> None:
    headers = {**request(plain="X-Hub-Signature-256"), "webhook-signature": ""}
    assert verify([OTHER, SECRET], headers, BODY, NOW).reason == "x-hub-signature-256 valid"
    assert not verify([OTHER], headers, BODY, NOW).is_genuine
    assert not verify([SECRET], {**headers, "x-hub-signature-256": "sha256=\xff"}, BODY, NOW).is_genuine
