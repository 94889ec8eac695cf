"""The one function through which whatever might hold a secret is printed."""

import re

# An apostrophe may stand in a URL, and a password may hold an `@`. JSON may escape the slashes.
_URL = re.compile(
    r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]{0,30}:\\?/\\?/)(?:[^\s/\\?#\"<>]*@)?"
    r"(?P<host>[^\s/\\?#\"'<>]+)(?P<rest>[^\s\"<>]*)"
)
# An ordinary word may follow, as in Basic Training; what is encoded looks otherwise.
_BASIC = r"\bbasic\s+(?!(?-i:[A-Z]?[a-z]+)(?![^\s.,;:!?)\"']))"
_NAMED = r"(?:token|password|secret|api[_-]?key)[\\\"']*\s*[=:]\s*"
_CREDENTIAL = re.compile(rf"(?i)(?P<name>\bbearer\s+|{_BASIC}|{_NAMED})[\\\"']*[^\s\\\"',;&}}]{{6,}}")
_SHORTEST_SECRET = 4
_WEBHOOK_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]+")


def _only_host(match: re.Match[str]) -> str:
    rest = match["rest"]
    return f"{match['scheme']}{match['host']}{'/...' if len(rest) > 1 else rest}"


def redact(text: str, *secrets: str) -> str:
    """Return `text` fit to be printed, logged or stored.

    URLs keep their scheme and host only (a Slack webhook's path *is* its secret), webhook secrets and
    what follows words like `Bearer` disappear, and so does every string in `secrets`, wherever it stands.
    """
    for secret in sorted((s for s in secrets if len(s) >= _SHORTEST_SECRET), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    text = _URL.sub(_only_host, text)
    text = _WEBHOOK_SECRET.sub("[secret]", text)
    return _CREDENTIAL.sub(lambda match: f"{match['name']}[secret]", text)
