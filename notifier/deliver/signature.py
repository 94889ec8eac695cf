"""Standard Webhooks 1.0.0: the headers that say which message this is, when it was sent, and by whom."""

from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import SecretStr
from standardwebhooks import Webhook


class Signer:
    """Writes a request's `webhook-` headers, with one signature for each secret, the newest first."""

    def __init__(self, secrets: Iterable[SecretStr]) -> None:
        """Take the secrets as `whsec_` and base64; without any, requests go out unsigned.

        Raises ValueError for a secret that is not base64.
        """
        self._webhooks = tuple(Webhook(secret.get_secret_value()) for secret in secrets)

    def headers(self, message_id: str, now_ms: int, body: bytes) -> dict[str, str]:
        """Return the headers for an attempt made at `now_ms` (Unix milliseconds)."""
        seconds = now_ms // 1000
        headers = {"webhook-id": message_id, "webhook-timestamp": str(seconds)}
        if self._webhooks:
            # The package reads any datetime's wall clock as UTC: one in another zone would be signed wrongly.
            moment = datetime.fromtimestamp(seconds, UTC)
            text = body.decode()
            headers["webhook-signature"] = " ".join(hook.sign(message_id, moment, text) for hook in self._webhooks)
        return headers
