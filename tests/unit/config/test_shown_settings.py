"""The settings as they are shown to people, without secrets, and the filters in words."""

import pytest

from notifier.config import Settings
from notifier.config.filter_words import describe_filters
from notifier.config.secret_values import secret_values
from notifier.config.shown_settings import HIDDEN, shown_settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

SETTINGS = Settings.model_validate(
    {
        "sources": {"acme": {"token": "sesame-sesame", "poll_interval": "90s", "user_id": "u1"}},
        "destinations": {
            "hr": {
                "type": "http",
                "url": "https://someone:password-1@hr.example.com/hooks/a-long-secret-part?key=value",
                "secret": [SECRET, SECRET.replace("M", "N")],
                "headers": {"X-Key": "key-of-the-receiver"},
                "sources": ["acme"],
            },
            "chat": {"type": "slack", "url": "https://hooks.slack.com/services/T0/B0/secretpath"},
        },
    }
)


def shown(name: str) -> dict[str, str]:
    table = SETTINGS.destinations.get(name)
    settings = (
        shown_settings(SETTINGS.sources[name]) if table is None else shown_settings(table, address=table.address())
    )
    return {setting.key: setting.value for setting in settings}


def test_shown_settings_use_the_notation_of_the_file() -> None:
    acme = shown("acme")
    assert acme["poll_interval"] == "90s"
    assert acme["sweep_interval"] == "1d"
    assert (acme["names"], acme["has_attachments"], acme["user_id"]) == ("yes", "", "u1")
    assert shown("hr")["sources"] == "acme"


def test_shown_settings_list_configured_keys_first() -> None:
    settings = shown_settings(SETTINGS.sources["acme"])
    assert [setting.key for setting in settings if not setting.is_default] == ["token", "poll_interval", "user_id"]
    assert [setting.is_default for setting in settings] == sorted(setting.is_default for setting in settings)


@pytest.mark.parametrize("name", ["acme", "hr", "chat"])
def test_shown_settings_contain_no_secret(name: str) -> None:
    text = str(shown(name))
    for secret in secret_values(SETTINGS):
        assert secret not in text
    for part in ("sesame-", "password-1", "a-long-secret-part", "secretpath", "key-of-the-receiver", "MfKQ9r8"):
        assert part not in text, part


def test_shown_settings_mark_hidden_values() -> None:
    hr = shown("hr")
    assert hr["headers"] == f"X-Key: {HIDDEN}"
    assert hr["secret"] == f"2 values {HIDDEN}"
    assert hr["url"] == "https://hr.example.com/..."
    assert hr["ca_file"] == ""
    assert shown("acme")["token"] == HIDDEN


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "new completions, changed completions and removed completions of all people, trainings and sources"),
        ({"events": ["completion.removed"], "sources": ["a", "b"]}, "removed completions whose source is `a` or `b`"),
        (
            {"events": ["completion.created"], "training_ids": ["7"], "user_ids": ["u1"]},
            "new completions whose training's id is `7`, and whose person's id is `u1`",
        ),
        (
            {"events": ["completion.created"], "trainings": ["Crane*", "!Crane Refresher"], "people": ["!E-1"]},
            (
                "new completions whose training's title or id is `Crane*` but not `Crane Refresher`, and whose person's"
                " employee number or id is not `E-1`"
            ),
        ),
        ({"events": []}, "only alerts, if `[alerts] destination` names it"),
    ],
)
def test_describe_filters_puts_filters_into_words(keys: dict[str, object], words: str) -> None:
    hr = {"type": "http", "url": "https://hr.example.com/"} | keys
    settings = Settings.model_validate(
        {"sources": {"a": {"token": "t"}, "b": {"token": "u"}}, "destinations": {"hr": hr}}
    )
    assert describe_filters(settings.destinations["hr"]) == words


def test_describe_filters_counts_the_values_that_it_does_not_name() -> None:
    hr = {"type": "http", "url": "https://hr.example.com/", "user_ids": [f"u{number}" for number in range(500)]}
    settings = Settings.model_validate({"sources": {"a": {"token": "t"}}, "destinations": {"hr": hr}})
    words = describe_filters(settings.destinations["hr"])
    assert words.endswith("`u9` or 490 others")
