"""Makes a peer's text safe to show and to store."""

from base64 import b64decode, b64encode
from urllib.parse import parse_qsl, unquote, urlsplit

from notifier.redact import hide_partial_secret, redact

LONGEST_DETAIL = 300
"""The maximum number of characters of a peer's text that are kept."""

LONGEST_BEGINNING = 1000
"""The maximum number of characters of an answer that are kept in the log of requests."""

_LONG_SEGMENT = 16


def safe_line(text: str, secrets: tuple[str, ...]) -> str:
    """Return a peer's text as one printable line without secrets, cut to LONGEST_DETAIL characters."""
    # A long answer is not read to its end, and so may be cut within a secret.
    line = " ".join(hide_partial_secret(redact(text, *secrets), *secrets).split())
    if not line.isprintable():
        line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= LONGEST_DETAIL else line[: LONGEST_DETAIL - 1] + "…"


def safe_beginning(text: str, secrets: tuple[str, ...]) -> str:
    """Return the first LONGEST_BEGINNING characters of a peer's text without secrets; line breaks are kept."""
    kept = hide_partial_secret(redact(text, *secrets), *secrets).replace("\r\n", "\n")
    marked = (char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in kept)
    safe = "".join(marked)
    return safe if len(safe) <= LONGEST_BEGINNING else safe[: LONGEST_BEGINNING - 1] + "…"


def header_secrets(value: str) -> tuple[str, ...]:
    """Return the secrets in a header's value. They must not be shown if a peer's answer repeats them.

    These are the whole value, the part after its scheme and, for Basic credentials, the decoded text and its password.
    """
    scheme, _, credentials = value.partition(" ")
    return (value, credentials or scheme, *(_decode_basic(credentials) if scheme.lower() == "basic" else ()))


def _decode_basic(credentials: str) -> tuple[str, ...]:
    try:
        pair = b64decode(credentials, validate=True).decode()
    except ValueError:
        return ()
    return (pair, pair.partition(":")[2])


def url_secrets(url: str) -> tuple[str, ...]:
    """Return the parts of a URL that must not be shown if a peer's answer repeats them.

    These are the whole URL, its path (the secret of a webhook), query, long path segments, passwords and query values.
    Each is returned twice: as written, and decoded.
    """
    parts = urlsplit(url)
    path = parts.path if parts.path != "/" else ""
    written = [url, path, *(segment for segment in path.split("/") if len(segment) >= _LONG_SEGMENT)]
    written += [parts.query, parts.password or ""]
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        written += [pair, b64encode(pair.encode()).decode()]
    values = [value for _, value in parse_qsl(parts.query)]
    return tuple(dict.fromkeys(text for text in (*written, *map(unquote, written), *values) if text))
