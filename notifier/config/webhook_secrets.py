"""Checks the secrets that sign requests, and the keys with which a receiver verifies signatures."""

import base64
import binascii
from importlib.util import find_spec
from typing import Annotated, Final

from pydantic import PlainSerializer, PlainValidator, SecretStr

from notifier.config.errors import InvalidValue

_SECRET_BYTES: Final = range(24, 65)
_KEY_BYTES: Final = 32
_NO_LIBRARY: Final = "needs the library cryptography: pip install 'completion-notifier[ed25519]'"


def problem_with_receiver_key(text: str) -> str | None:
    """Return what is wrong with the secret or public key of a receiver; None if it is valid.

    The returned text does not contain the key.
    """
    if text.startswith("whsk_"):
        return "is a private key, which only the sender may have; `notifier check` shows the public key, whpk_..."
    if text.startswith("whpk_"):
        if _decoded_byte_count(text) != _KEY_BYTES:
            return "must be whpk_ and a public Ed25519 key of 32 bytes in base64"
        return _NO_LIBRARY if find_spec("cryptography") is None else None
    if not text.startswith("whsec_") or not _decoded_byte_count(text):
        return "must be whsec_ and a secret in base64, or whpk_ and a public key"
    return None


def _parse_webhook_secrets(given: object) -> tuple[SecretStr, ...]:
    if given == "":
        return ()
    secrets = given if isinstance(given, list | tuple) else [given]
    texts = [secret.get_secret_value() if isinstance(secret, SecretStr) else secret for secret in secrets]
    for number, text in enumerate(texts, start=1):
        which = f"number {number} of the list " if len(texts) > 1 else ""
        if problem := _problem_with_secret(text):
            raise InvalidValue(which + problem)
    return tuple(SecretStr(str(text)) for text in texts)


def _problem_with_secret(text: object) -> str | None:
    if isinstance(text, str) and text.startswith("whsk_"):
        return _problem_with_private_key(text)
    if isinstance(text, str) and text.startswith("whpk_"):
        return "is a public key, which signs nothing: it is for receivers; the private key begins with whsk_"
    if isinstance(text, str) and text.startswith("whsec_") and _decoded_byte_count(text) in _SECRET_BYTES:
        return None
    return 'must be "whsec_" and 24 to 64 random bytes in base64 (echo whsec_$(openssl rand -base64 32))'


def _problem_with_private_key(text: str) -> str | None:
    if _decoded_byte_count(text) not in (_KEY_BYTES, 2 * _KEY_BYTES):
        return (
            'must be "whsk_" and a private Ed25519 key of 32 or 64 bytes in base64'
            " (echo whsk_$(openssl genpkey -algorithm ed25519 -outform DER | tail -c 32 | base64))"
        )
    if find_spec("cryptography") is None:
        return _NO_LIBRARY
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - optional

    key = base64.b64decode(text.removeprefix("whsk_") + "==")
    public = Ed25519PrivateKey.from_private_bytes(key[:_KEY_BYTES]).public_key().public_bytes_raw()
    return "must be a private key whose two halves belong together" if key[_KEY_BYTES:] not in (b"", public) else None


def _decoded_byte_count(text: str) -> int:
    """Decode the base64 after a secret's prefix, and return the number of bytes; 0 if the base64 is not valid."""
    _, _, encoded = text.partition("_")
    try:
        # Standard Webhooks libraries accept a secret with or without its base64 padding.
        return len(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)) if text.isascii() else 0
    except binascii.Error:
        return 0


def _hide_secrets(secrets: tuple[SecretStr, ...]) -> list[str]:
    return [str(secret) for secret in secrets]


WebhookSecrets = Annotated[
    tuple[SecretStr, ...],
    PlainValidator(_parse_webhook_secrets, json_schema_input_type=SecretStr | list[SecretStr]),
    PlainSerializer(_hide_secrets, return_type=list[str]),
]
"""The secrets that sign requests, newest first: one secret, a list, or `""` for none."""
