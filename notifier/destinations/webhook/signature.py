"""The headers of Standard Webhooks 1.0.0: a message's id, time and signature."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable

from pydantic import SecretStr


class Signer:
    """Builds a request's `webhook-` headers, with one signature for each secret, the newest first."""

    def __init__(self, secrets: Iterable[SecretStr]) -> None:
        """Initialize with the secrets (`whsec_` and base64); without any, requests are not signed.

        Raises ValueError for a secret that is not base64.
        """
        # The keyed hashes are prepared once, because setting a key up takes longer than signing a small body.
        self._keyed = tuple(hmac.new(_key(secret), digestmod=hashlib.sha256) for secret in secrets)

    def headers(self, message_id: str, now_ms: int, body: bytes) -> dict[str, str]:
        """Return the headers for an attempt made at `now_ms` (Unix milliseconds)."""
        seconds = str(now_ms // 1000)
        headers = {"webhook-id": message_id, "webhook-timestamp": seconds}
        if self._keyed:
            content = b"%b.%b.%b" % (message_id.encode(), seconds.encode(), body)
            headers["webhook-signature"] = " ".join(_sign(keyed, content) for keyed in self._keyed)
        return headers


def _key(secret: SecretStr) -> bytes:
    # Missing padding would be an error; superfluous padding is not.
    return b64decode(secret.get_secret_value().removeprefix("whsec_") + "==")


def _sign(keyed: hmac.HMAC, content: bytes) -> str:
    signature = keyed.copy()
    signature.update(content)
    return f"v1,{b64encode(signature.digest()).decode()}"
