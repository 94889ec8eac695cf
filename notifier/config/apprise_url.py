"""Checks apprise URLs, which name a service and contain its credentials. Only apprise itself can parse them."""

import logging
from typing import Annotated, Any

from pydantic import AfterValidator, SecretStr

from notifier.config.errors import InvalidValue


def _check_apprise_url(url: SecretStr) -> SecretStr:
    try:
        # Imported here, because the package is optional and its import takes a fifth of a second.
        from apprise import Apprise  # noqa: PLC0415
    except ImportError:
        raise InvalidValue("needs the library apprise: pip install 'completion-notifier[apprise]'") from None
    # The library's messages about a URL may contain the URL, which is secret.
    logging.getLogger("apprise").disabled = True
    if Apprise.instantiate(url.get_secret_value()) is None:
        if package := _missing_package(url.get_secret_value()):
            raise InvalidValue(f"belongs to a service for which apprise needs another package: pip install '{package}'")
        raise InvalidValue(
            "must be a URL that apprise understands, such as ntfys://ntfy.example.com/topic; its"
            " documentation lists the services"
        )
    return url


def _missing_package(url: str) -> str | None:
    """Return the first missing package that apprise needs for the service of a URL; None if no package is missing."""
    from apprise.manager_plugins import NotificationManager  # noqa: PLC0415

    try:
        services: Any = NotificationManager()  # type: ignore[no-untyped-call]
        service = services[url.partition("://")[0].lower()]
    except KeyError:
        return None
    needed = service.requirements.get("packages_required") if not service.enabled else None
    packages = [needed] if isinstance(needed, str) else list(needed or ())
    return str(packages[0]).replace(" ", "") if packages else None


AppriseUrl = Annotated[SecretStr, AfterValidator(_check_apprise_url)]
"""The URL of a service that apprise supports; any part of the URL may be secret."""


def shown_apprise_url(url: SecretStr) -> str:
    """Return an apprise URL for display: only its scheme, because any other part can be a token, even the host."""
    scheme, _, _ = url.get_secret_value().partition("://")
    return f"{scheme}://..."
