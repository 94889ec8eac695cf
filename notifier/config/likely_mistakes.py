"""Finds values that are valid but probably mistakes, such as placeholders and quotes within quotes.

Each function returns a sentence that says what to do, or None if it finds no mistake. A sentence never repeats a value.
"""

import re
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from notifier.http.proxy import is_loopback
from notifier.patterns import admits_nothing
from notifier.suggest import TYPOGRAPHIC_QUOTES

_PLACEHOLDER: Final = re.compile(
    r"\.{3}|…|\$\{\w+\}|<[\w -]+>|\byour-(?:api-)?(?:token|webhook|workflow|signature|topic|secret|url|key)\b"
    r"|T0{8}/B0{8}|^(?:change-?me|todo|x{3,}|token|secret|password)$",
    re.IGNORECASE,
)
_QUOTES: Final = "'\"`" + TYPOGRAPHIC_QUOTES
_CERTIFICATE: Final = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----")
_SLACK_HOSTS: Final = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})
_INCOMING_WEBHOOK: Final = re.compile(r"/services/[^/]+/[^/]+/[^/]+")
_TEAMS_DOMAINS: Final = (
    "logic.azure.com",
    "logic.azure.us",
    "logic.azure.cn",
    "api.powerplatform.com",
    "api.powerplatform.us",
    "api.powerplatform.cn",
)
_MIN_DIFFERENT_BYTES: Final = 12
"""The fewest different bytes in a random secret. Of random secrets of 24 bytes, one in about 4 * 10^14 has fewer."""

_RETIRED_DOMAINS: Final = ("webhook.office.com", "outlook.office.com")


def of_secret(secret: str) -> str | None:
    """Return a sentence about a likely mistake in a token or another secret; None if there is none."""
    if _PLACEHOLDER.search(secret):
        return "is a placeholder: write the real value; variables are not expanded in this file"
    # An empty text has no first character.
    if secret and (secret[0] in _QUOTES or secret[-1] in _QUOTES):
        return "contains quotes at its beginning or end: leave them out"
    return None


def of_signing_secret(secret: str) -> str | None:
    """Return a sentence about a likely mistake in a secret that signs requests; None if there is none."""
    if mistake := of_secret(secret):
        return mistake
    written = secret.removeprefix("whsec_").removeprefix("whsk_")
    try:
        key = b64decode(written + "=" * (-len(written) % 4), validate=True)
    except ValueError:
        key = written.encode()
    if len(set(key)) < _MIN_DIFFERENT_BYTES:
        return "has few different bytes and can be guessed: create another one (openssl rand -base64 32, after whsec_)"
    return None


def of_teams_url(url: str) -> str | None:
    """Return a sentence about a likely mistake in the URL of a Teams channel; None if there is none."""
    host = urlsplit(url).hostname or ""
    is_workflow_url = any(host == domain or host.endswith(f".{domain}") for domain in _TEAMS_DOMAINS)
    if is_workflow_url or is_loopback(host) or of_url(url):
        return None
    return (
        "is not a URL of Microsoft's workflows (...logic.azure.com, ...api.powerplatform.com); for other services"
        ' use "http"'
    )


def of_url(url: str) -> str | None:
    """Return a sentence about a likely mistake in a destination's URL; None if there is none."""
    if _PLACEHOLDER.search(url):
        return "contains a placeholder: write the real URL; variables are not expanded in this file"
    host = urlsplit(url).hostname or ""
    if any(host == retired or host.endswith(f".{retired}") for retired in _RETIRED_DOMAINS):
        return "is an Office 365 connector, which Microsoft has retired: create a workflow in Teams and use its URL"
    return None


def of_proxy(url: str) -> str | None:
    """Return a sentence about a likely mistake in a proxy setting (a URL, `none` or empty); None if there is none."""
    parts = urlsplit(url)
    if parts.netloc and (parts.path.strip("/") or parts.query or parts.fragment):
        return "has a path, which has no effect: a proxy is only a host and a port; is it the address of a web page?"
    return None


def of_slack_url(url: str) -> str | None:
    """Return a sentence about a likely mistake in the URL of a Slack channel; None if there is none."""
    host = urlsplit(url).hostname or ""
    if is_loopback(host) or of_url(url):
        return None
    if host in _SLACK_HOSTS:
        is_complete = _INCOMING_WEBHOOK.fullmatch(urlsplit(url).path) is not None
        return (
            None
            if is_complete
            else f"is not the complete URL of an incoming webhook: https://{host}/services/T.../B.../..."
        )
    return 'is not a Slack URL (https://hooks.slack.com/...); for another service use type = "http" or "apprise"'


def of_id(identifier: str) -> str | None:
    """Return a sentence about a likely mistake in an id within a filter; None if there is none."""
    return "is a title or a name, but an id is required" if " " in identifier.strip() else None


def of_patterns(written: Sequence[str]) -> str | None:
    """Return a sentence about a likely mistake in the patterns of one filter; None if there is none."""
    return "excludes everything that it admits, so no event is ever sent" if admits_nothing(written) else None


def of_certificate_file(file: Path) -> str | None:
    """Return a sentence about a likely mistake in a file of certificates; None if there is none."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    return None if _CERTIFICATE.search(content) else "contains no certificate (PEM: -----BEGIN CERTIFICATE-----)"
