"""Turns the answers of `notifier init` into the text of a configuration and of credential files. Pure."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from notifier.config.errors import dotted
from notifier.config.layers import variable_name
from notifier.config.template import StoredElsewhere, fill_in_example, read_example, validate_values

_EXAMPLE_SOURCE: Final = "acme"
_EXAMPLE_SLACK: Final = "safety-channel"
_EXAMPLE_HTTP: Final = "hr-system"
_PLACEHOLDER_TOKEN: Final = "some-token"  # noqa: S105 - stands for a token that was not asked for


class DestinationDraft(Struct, frozen=True):
    """The answers about one destination. `secret` signs requests; only HTTP endpoints have it."""

    name: str
    url: str
    secret: str = ""


class ConfigDraft(Struct, frozen=True):
    """The answers for a first configuration.

    If a question was not answered, the attribute is an empty text. `slack` and `http` are None if that destination is
    not wanted.
    """

    source: str
    token: str = ""
    base_url: str = ""
    api: str = ""
    state_file: str = ""
    slack: DestinationDraft | None = None
    http: DestinationDraft | None = None

    def secrets(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """For each secret, yield its keys, such as `("sources", "acme", "token")`, and its value.

        A URL that may contain a secret is a secret, too.
        """
        yield ("sources", self.source, "token"), self.token
        if self.slack is not None:
            yield ("destinations", self.slack.name, "url"), self.slack.url
        if self.http is not None:
            yield ("destinations", self.http.name, "secret"), self.http.secret
            parts = urlsplit(self.http.url)
            if parts.username or parts.query:
                yield ("destinations", self.http.name, "url"), self.http.url

    def tables(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return sources and destinations as nested dictionaries, like the parsed configuration file."""
        source = {"token": self.token or _PLACEHOLDER_TOKEN, "base_url": self.base_url, "api": self.api}
        tables: dict[str, dict[str, dict[str, Any]]] = {
            "sources": {self.source: _without_empty(source)},
            "destinations": {},
        }
        if self.slack is not None:
            tables["destinations"][self.slack.name] = {"type": "slack", "url": self.slack.url}
        if self.http is not None:
            signing = _without_empty({"secret": self.http.secret})
            tables["destinations"][self.http.name] = {"type": "http", "url": self.http.url, **signing}
        return tables


def _without_empty(keys: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in keys.items() if value}


def problem_at(answers: ConfigDraft, *path: str) -> str | None:
    """Return the problem with the value at `path`, a path of keys; None if the value is valid."""
    tables: dict[str, Any] = {**answers.tables(), "store": {"path": answers.state_file}}
    key_path = dotted(path)
    for problem in validate_values(tables):
        if problem.key == key_path or problem.key.startswith(f"{key_path}."):
            return problem.message
    return None


def new_secret(random: bytes) -> str:
    """Return a secret for signing requests, made from `random`, which has 24 to 64 random bytes."""
    return f"whsec_{base64.b64encode(random).decode()}"


def configuration_text(answers: ConfigDraft, *, with_secrets: bool) -> str:
    """Return the text of the configuration file; without `with_secrets`, the text refers to credential files."""
    names = _names_by_example(answers)
    values: dict[str, dict[str, str | StoredElsewhere]] = {}
    for old, new in names.items():
        kind = "sources" if old == _EXAMPLE_SOURCE else "destinations"
        values[f"{kind}.{old}"] = dict(answers.tables()[kind][new])
        if not with_secrets:
            secret = {key for key_path, _ in answers.secrets() for key in key_path[2:] if key_path[:2] == (kind, new)}
            values[f"{kind}.{old}"] |= dict.fromkeys(secret, StoredElsewhere())
    if answers.state_file:
        values["store"] = {"path": answers.state_file}
    return fill_in_example(read_example(), names, values)


def credential_files(answers: ConfigDraft) -> dict[str, str]:
    """Return the content of each credential file that a configuration without secrets needs, by file name."""
    return {variable_name(key_path): value for key_path, value in answers.secrets()}


def _names_by_example(answers: ConfigDraft) -> dict[str, str]:
    names = {_EXAMPLE_SOURCE: answers.source}
    if answers.slack is not None:
        names[_EXAMPLE_SLACK] = answers.slack.name
    if answers.http is not None:
        names[_EXAMPLE_HTTP] = answers.http.name
    return names
