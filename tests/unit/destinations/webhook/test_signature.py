import base64
import hashlib
import hmac
import time
from itertools import pairwise

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from notifier.destinations.webhook.signature import Signer, public_key
from notifier.destinations.webhook.verification import verify

OLD = "whsec_" + base64.b64encode(b"the old secret, 24 bytes").decode()
NEW = "whsec_" + base64.b64encode(b"the new secret, 24 bytes").decode()
BODY = '{"name":"Zoë 😀"}'.encode()


def signed(*secrets: str, now_ms: int | None = None, body: bytes = BODY) -> dict[str, str]:
    moment = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return Signer(map(SecretStr, secrets)).headers("evt_a", moment, body)


def test_signature_is_accepted_by_the_standardwebhooks_package() -> None:
    Webhook(NEW).verify(BODY, signed(NEW))


def test_signature_is_rejected_with_another_secret_or_body() -> None:
    headers = signed(NEW)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY + b" ", headers)


def test_signature_with_two_secrets_is_accepted_with_either_secret() -> None:
    headers = signed(NEW, OLD)
    Webhook(NEW).verify(BODY, headers)
    Webhook(OLD).verify(BODY, headers)
    newest, older = headers["webhook-signature"].split(" ")
    assert newest == signed(NEW, now_ms=int(headers["webhook-timestamp"]) * 1000)["webhook-signature"]
    assert older != newest


def test_signer_without_a_secret_sets_only_the_id_and_the_timestamp() -> None:
    assert signed(now_ms=1_700_000_000_999) == {"webhook-id": "evt_a", "webhook-timestamp": "1700000000"}


@given(st.integers(0, 4_000_000_000_000), st.text())
def test_signature_is_computed_as_standard_webhooks_defines_it(now_ms: int, text: str) -> None:
    headers = signed(NEW, now_ms=now_ms, body=text.encode())
    content = f"evt_a.{now_ms // 1000}.{text}".encode()
    key = base64.b64decode(NEW.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_signature_changes_with_the_timestamp_of_the_attempt() -> None:
    attempts = [signed(NEW, now_ms=second * 1000) for second in (1, 2, 3)]
    assert all(one["webhook-signature"] != other["webhook-signature"] for one, other in pairwise(attempts))
    assert {attempt["webhook-id"] for attempt in attempts} == {"evt_a"}


SEED = b"the thirty-two bytes of the seed"
PRIVATE = "whsk_" + base64.b64encode(SEED).decode()


def test_signature_of_a_private_key_is_verified_with_its_public_key() -> None:
    headers = signed(PRIVATE, now_ms=5000)
    version, _, signature = headers["webhook-signature"].partition(",")
    assert version == "v1a"
    written = public_key(PRIVATE)
    assert written.startswith("whpk_")
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(written.removeprefix("whpk_")))
    key.verify(base64.b64decode(signature), b"evt_a.5." + BODY)
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(signature), b"evt_a.5." + BODY + b" ")


def test_public_key_matches_the_example_in_rfc_8032() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    expected = f"whpk_{base64.b64encode(public).decode()}"
    assert public_key(f"whsk_{base64.b64encode(seed).decode()}") == expected


def test_private_key_may_be_followed_only_by_its_own_public_key() -> None:
    public = base64.b64decode(public_key(PRIVATE).removeprefix("whpk_"))
    whole = "whsk_" + base64.b64encode(SEED + public).decode()
    assert public_key(whole) == public_key(PRIVATE)
    assert signed(whole, now_ms=1)["webhook-signature"] == signed(PRIVATE, now_ms=1)["webhook-signature"]
    for wrong in (SEED + SEED, SEED[:31], b""):
        with pytest.raises(ValueError, match="private"):
            public_key("whsk_" + base64.b64encode(wrong).decode())


def test_signer_signs_one_request_with_both_kinds_of_secret() -> None:
    headers = signed(PRIVATE, NEW, now_ms=time.time_ns() // 1_000_000)
    assert [entry.partition(",")[0] for entry in headers["webhook-signature"].split(" ")] == ["v1a", "v1"]
    Webhook(NEW).verify(BODY, headers)
    for secret in (PRIVATE, public_key(PRIVATE), NEW):
        assert verify([secret], headers, BODY, time.time()).is_genuine


def test_plain_hash_has_the_form_of_github_with_the_secret_text_as_key() -> None:
    headers = Signer(map(SecretStr, [NEW, PRIVATE, OLD]), "X-Hub-Signature-256").headers("evt_a", 5000, BODY)
    expected = [f"sha256={hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()}" for secret in (NEW, OLD)]
    assert headers["x-hub-signature-256"] == ",".join(expected)
    assert "webhook-signature" in headers
