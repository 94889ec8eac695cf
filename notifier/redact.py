"""Removes secrets from text. All text that may contain a secret passes through this module before it is printed."""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import quote

# An apostrophe may be part of a URL, a password may contain an `@`, and JSON may escape the slashes.
_URL = re.compile(
    r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]{0,30}:\\?/\\?/)(?:[^\s/\\?#\"<>]*@)?"
    r"(?P<host>[^\s/\\?#\"'<>]+)(?P<rest>[^\s\"<>]*)"
)
# In "Basic Training", the word after "Basic" is an ordinary word, not encoded credentials.
_BASIC = r"\bbasic\s+(?!(?-i:[A-Z]?[a-z]+)(?![^\s.,;:!?)\"']))"
_NAMED = r"(?:token|password|secret|api[_-]?key)[\\\"']*\s*[=:]\s*"
_CREDENTIAL = re.compile(rf"(?i)(?P<name>\bbearer\s+|{_BASIC}|{_NAMED})[\\\"']*[^\s\\\"',;&}}]{{6,}}")
_SHORTEST_SECRET = 4
_SHORTEST_REMEMBERED: Final = 8
"""Configured secrets with fewer characters are not removed, because ordinary words often contain them."""

_PLACEHOLDER = "[secret]"
_ELLIPSES: Final = ("…", "...", "`")
_WEBHOOK_SECRET = re.compile(r"wh(?:sec|sk)_[A-Za-z0-9+/=_-]+")


_remembered: dict[str, None] = {}


def remember_secrets(secrets: Iterable[str]) -> None:
    """Add `secrets` to the secrets that are removed from all text.

    Secrets of fewer than eight characters are not added. URLs are not added, either, because `redact` keeps the host of
    each URL.
    """
    _remembered.update(dict.fromkeys(one for one in secrets if len(one) >= _SHORTEST_REMEMBERED and "://" not in one))


def hide_remembered(text: str) -> str:
    """Return text without the remembered secrets, and otherwise unchanged."""
    return _replace_secrets(text, tuple(_remembered)) if _remembered else text


def hide_partial_secret(text: str, *secrets: str) -> str:
    """If `text` ends with the beginning of a secret, replace that part with a placeholder.

    Ellipses and backticks at the end of `text` are ignored.
    """
    body, end = text, ""
    while body.endswith(_ELLIPSES):
        mark = next(mark for mark in _ELLIPSES if body.endswith(mark))
        body, end = body.removesuffix(mark), mark + end
    longest = max((_partial_length(body, secret) for secret in (*secrets, *_remembered)), default=0)
    return f"{body[:-longest]}{_PLACEHOLDER}{end}" if longest else text


def _partial_length(text: str, secret: str) -> int:
    """Return the length of the longest end of the text that is a beginning of the secret; 0 if it is below four."""
    if len(secret) < _SHORTEST_SECRET:
        return 0
    end = text[-len(secret) :]
    # A search for the secret's first characters is faster than a comparison for each length.
    begin = end.find(secret[:_SHORTEST_SECRET])
    while begin >= 0 and not secret.startswith(end[begin:]):
        begin = end.find(secret[:_SHORTEST_SECRET], begin + 1)
    return len(end) - begin if begin >= 0 else 0


def _replace_secrets(text: str, secrets: tuple[str, ...]) -> str:
    return _pattern(secrets).sub(_PLACEHOLDER, text)


@lru_cache(maxsize=64)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    forms = {form for secret in secrets for form in _forms(secret)}
    # The placeholder replaces itself, so that it stays unchanged even if a secret is a part of it.
    longest_first = sorted([*forms, _PLACEHOLDER], key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))


def _forms(secret: str) -> tuple[str, ...]:
    """Return the forms in which a secret may appear: plain, in JSON (with and without escapes), and in a URL."""
    try:
        in_url = quote(secret, safe="")
    except UnicodeEncodeError:
        in_url = secret
    in_json = json.dumps(secret)[1:-1]
    return secret, in_json, in_json.replace("/", "\\/"), json.dumps(secret, ensure_ascii=False)[1:-1], in_url


def _keep_host(match: re.Match[str]) -> str:
    rest = match["rest"]
    return f"{match['scheme']}{match['host']}{'/...' if len(rest) > 1 else rest}"


def redact(text: str, *secrets: str) -> str:
    """Return `text` without secrets, so that it may be printed, logged or stored.

    The strings in `secrets`, remembered secrets, webhook secrets, and credentials after words such as `Bearer` are
    replaced. URLs are cut after the host, because the path of a Slack webhook is a secret.
    """
    if hidden := tuple(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET):
        text = _replace_secrets(text, hidden)
    text = _URL.sub(_keep_host, text)
    text = _WEBHOOK_SECRET.sub(_PLACEHOLDER, text)
    text = _CREDENTIAL.sub(lambda match: f"{match['name']}{_PLACEHOLDER}", text)
    # Remembered secrets are removed last, so that the host of a URL is recognised before.
    return hide_remembered(text)
