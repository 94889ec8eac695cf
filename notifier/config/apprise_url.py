"""The URLs of apprise, which stand for a service and hold its credentials: only the library itself can read them."""

import logging
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from notifier.config.problems import Wrong


def _understood(url: SecretStr) -> SecretStr:
    try:
        # Optional; and a fifth of a second that only those wait for who use it.
        from apprise import Apprise  # noqa: PLC0415
    except ImportError:
        raise Wrong("needs the library apprise: pip install 'completion-notifier[apprise]'") from None
    # What it says of a URL may hold the URL.
    logging.getLogger("apprise").disabled = True
    if Apprise.instantiate(url.get_secret_value()) is None:
        raise Wrong(
            "must be a URL that apprise understands, such as ntfys://ntfy.example.com/topic; its"
            " documentation lists the services (some need another package)"
        )
    return url


AppriseUrl = Annotated[SecretStr, AfterValidator(_understood)]
"""A URL of a service that apprise knows; any part of it may be a secret."""


def shown_apprise_url(url: SecretStr) -> str:
    """Return what of an apprise URL may be shown: in some, the host is the token already."""
    scheme, _, _ = url.get_secret_value().partition("://")
    return f"{scheme}://..."
