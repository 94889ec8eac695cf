"""Verifies the signature of a request, and the age of its timestamp, as a receiver does."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from notifier.destinations.webhook.signature import (
    PRIVATE_PREFIX,
    PUBLIC_PREFIX,
    public_key,
    signed_content,
    symmetric_key,
)

TOLERANCE_SECONDS: Final = 300
"""The largest accepted difference between a timestamp and the receiver's clock, as Standard Webhooks recommends."""

_PLAIN_HEADERS: Final = ("x-hub-signature-256",)


class Verdict(Struct, frozen=True):
    """Whether a request is genuine, and a sentence for people that says why or why not."""

    is_genuine: bool
    reason: str


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now_seconds: float) -> Verdict:
    """Return whether one of `secrets` confirms a request's signature, and whether the request is recent.

    Each of `secrets` must be a well-formed secret (`whsec_` or `whsk_`) or public key (`whpk_`). The names in `headers`
    must be in lower case. If the request has only a plain hash, its timestamp is not checked, because the hash does not
    cover the timestamp.
    """
    signatures = headers.get("webhook-signature", "")
    if not signatures:
        return _verify_plain_hash(secrets, headers, body)
    message_id, seconds = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id:
        return Verdict(is_genuine=False, reason="there is no header webhook-id")
    if not (seconds.isascii() and seconds.isdecimal()):
        return Verdict(is_genuine=False, reason="the header webhook-timestamp is not a number")
    age = now_seconds - int(seconds)
    if abs(age) > TOLERANCE_SECONDS:
        when = "old" if age > 0 else "in the future"
        return Verdict(is_genuine=False, reason=f"the timestamp is {abs(age):,.0f} seconds {when}")
    content = signed_content(message_id, seconds, body)
    for version, _, signature in (entry.partition(",") for entry in signatures.split()):
        if any(_matches(secret, version, signature, content) for secret in secrets):
            return Verdict(is_genuine=True, reason=f"signature valid ({version})")
    return Verdict(is_genuine=False, reason="no signature was made of this body with this secret")


def _verify_plain_hash(secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> Verdict:
    for name in _PLAIN_HEADERS:
        values = headers.get(name, "")
        if not values:
            continue
        expected = {f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}" for secret in secrets}
        if any(hmac.compare_digest(value.strip(), one) for value in _ascii_values(values) for one in expected):
            return Verdict(is_genuine=True, reason=f"{name} valid")
        return Verdict(is_genuine=False, reason=f"{name} was not made of this body with this secret")
    return Verdict(is_genuine=False, reason="the request is not signed")


def _ascii_values(values: str) -> Iterator[str]:
    # `compare_digest` accepts only ASCII text; anything else is no signature.
    return (value for value in values.split(",") if value.isascii())


def _matches(secret: str, version: str, signature: str, content: bytes) -> bool:
    if not signature.isascii():
        return False
    is_asymmetric = secret.startswith((PRIVATE_PREFIX, PUBLIC_PREFIX))
    if version == "v1" and not is_asymmetric:
        expected = b64encode(hmac.new(symmetric_key(secret), content, hashlib.sha256).digest()).decode()
        return hmac.compare_digest(signature, expected)
    return version == "v1a" and is_asymmetric and _is_signed(secret, signature, content)


def _is_signed(secret: str, signature: str, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - optional
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - optional

    written = public_key(secret) if secret.startswith(PRIVATE_PREFIX) else secret
    key = Ed25519PublicKey.from_public_bytes(b64decode(written.removeprefix(PUBLIC_PREFIX) + "=="))
    try:
        key.verify(b64decode(signature, validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return True
