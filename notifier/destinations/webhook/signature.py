"""The headers of a signed request, according to Standard Webhooks 1.0.0, and a plain hash for older receivers.

- Symmetric (`v1`): an HMAC with a secret that sender and receiver share.
- Asymmetric (`v1a`): an Ed25519 signature that a receiver verifies with a public key.
- Plain hash: an HMAC of the body alone in hexadecimal digits, with the secret's text as the key (as in GitHub's
  `X-Hub-Signature-256`).
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from typing import Final

from pydantic import SecretStr

SYMMETRIC_PREFIX: Final = "whsec_"
PRIVATE_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"

_KEY_BYTES: Final = 32


class Signer:
    """Builds the `webhook-` headers of a request, with one signature for each secret, in the order of the secrets."""

    def __init__(self, secrets: Iterable[SecretStr], plain_header: str = "") -> None:
        """Initialise with secrets (`whsec_` or `whsk_`, then base64); without a secret, requests are not signed.

        `plain_header` is the header for the plain hash; "" for none. Raises ValueError for a malformed secret.
        Raises ImportError if there is a private key, but the library cryptography is not installed.
        """
        texts = [secret.get_secret_value() for secret in secrets]
        self._signers = tuple(map(_make_signer, texts))
        self._plain_hash_header = plain_header.lower()
        shared = [text for text in texts if not text.startswith(PRIVATE_PREFIX)]
        self._plain_hash_keys = tuple(_hmac_with_key(text.encode()) for text in shared) if plain_header else ()

    def headers(self, message_id: str, now_ms: int, body: bytes) -> dict[str, str]:
        """Return the headers for an attempt made at `now_ms` (Unix milliseconds)."""
        seconds = str(now_ms // 1000)
        headers = {"webhook-id": message_id, "webhook-timestamp": seconds}
        if self._signers:
            content = signed_content(message_id, seconds, body)
            headers["webhook-signature"] = " ".join(sign(content) for sign in self._signers)
        if self._plain_hash_keys:
            # Receivers of several values, such as adnanh/webhook, expect a comma between them.
            headers[self._plain_hash_header] = ",".join(
                f"sha256={_digest(keyed, body).hex()}" for keyed in self._plain_hash_keys
            )
        return headers


def signed_content(message_id: str, seconds: str, body: bytes) -> bytes:
    """Return the bytes that are signed according to Standard Webhooks."""
    return b"%b.%b.%b" % (message_id.encode(), seconds.encode(), body)


def symmetric_key(secret: str) -> bytes:
    """Return the key of a secret (`whsec_`, then base64). Raises ValueError if it is not base64."""
    # Missing padding is an error in base64; too much padding is ignored.
    return b64decode(secret.removeprefix(SYMMETRIC_PREFIX) + "==")


def private_seed(secret: str) -> bytes:
    """Return the 32-byte seed of a private key (`whsk_`, then base64).

    Raises ValueError for anything else. The base64 text may hold 64 bytes: the seed, followed by the public key.
    """
    key = b64decode(secret.removeprefix(PRIVATE_PREFIX) + "==")
    if not secret.startswith(PRIVATE_PREFIX) or len(key) not in (_KEY_BYTES, 2 * _KEY_BYTES):
        raise ValueError("no private key")
    seed, rest = key[:_KEY_BYTES], key[_KEY_BYTES:]
    if rest not in (b"", _public_bytes(seed)):
        raise ValueError("the public half does not belong to the private half")
    return seed


def public_key(secret: str) -> str:
    """Return the public key (`whpk_`, then base64) of a private key (`whsk_`). Raises ValueError, ImportError."""
    return PUBLIC_PREFIX + b64encode(_public_bytes(private_seed(secret))).decode()


def _public_bytes(seed: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - optional

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _make_signer(secret: str) -> Callable[[bytes], str]:
    """Return a function that signs content. The key is prepared only once, because that takes longer than signing."""
    if secret.startswith(PRIVATE_PREFIX):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - optional

        key = Ed25519PrivateKey.from_private_bytes(private_seed(secret))
        return lambda content: f"v1a,{b64encode(key.sign(content)).decode()}"
    keyed = _hmac_with_key(symmetric_key(secret))
    return lambda content: f"v1,{b64encode(_digest(keyed, content)).decode()}"


def _hmac_with_key(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod=hashlib.sha256)


def _digest(keyed: hmac.HMAC, content: bytes) -> bytes:
    signature = keyed.copy()
    signature.update(content)
    return signature.digest()
