"""Fingerprints change with a destination's address or credentials, and with nothing else."""

from pathlib import Path
from typing import Any

import pytest

from notifier.config.webhooks import HttpSettings
from notifier.destinations.fingerprint import destination_identity, fingerprint


def settings(**keys: Any) -> HttpSettings:
    return HttpSettings.model_validate(
        {"type": "http", "url": "https://hr.example.com/hook", "headers": {"Authorization": "Bearer one"}, **keys}
    )


@pytest.mark.parametrize(
    "other",
    [
        {"url": "https://hr.example.com/other"},
        {"headers": {"Authorization": "Bearer two"}},
        {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
    ],
)
def test_fingerprint_changes_with_the_address_or_credentials(other: dict[str, Any]) -> None:
    stored = fingerprint(destination_identity(settings()), None)
    assert fingerprint(destination_identity(settings()), stored) == stored
    assert fingerprint(destination_identity(settings(**other)), stored) != stored


def test_fingerprint_ignores_other_settings() -> None:
    stored = fingerprint(destination_identity(settings()), None)
    tuned = settings(batch_size=100, timeout="3s", retry_max="1h", headers={"authorization": "Bearer one"})
    assert fingerprint(destination_identity(tuned), stored) == stored


def test_fingerprint_changes_with_the_content_of_a_certificate_file(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("one")
    stored = fingerprint(destination_identity(settings(ca_file=str(file))), None)
    file.write_text("another")
    assert fingerprint(destination_identity(settings(ca_file=str(file))), stored) != stored


def test_destination_identity_contains_the_proxy_only_if_it_is_set() -> None:
    before = b'["http", "https://hr.example.com/hook", {"authorization": "Bearer one"}, [], null, null, null]'
    assert destination_identity(settings()) == before
    assert destination_identity(settings(proxy="http://proxy.example:3128")) != before


def test_fingerprint_is_salted_and_contains_no_secret() -> None:
    first, second = (fingerprint(destination_identity(settings()), None) for _ in range(2))
    assert first != second
    assert "one" not in first
    assert len(first) == 16 + 1 + 16
