"""Secrets are removed from text, and ordinary text is unchanged."""

import json
import string
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifier import redact as redaction
from notifier.redact import hide_partial_secret, hide_remembered, redact, remember_secrets

UNRESERVED = string.ascii_letters + string.digits + "-._~"
SUB_DELIMITERS = "!$&'()*+,;="

words = st.text(UNRESERVED, min_size=8, max_size=30).map(lambda text: f"x{text}x")
parts = st.text(UNRESERVED + SUB_DELIMITERS + ":@%|`^", min_size=8, max_size=30).map(lambda text: f"x{text}x")
hosts = st.sampled_from(["hooks.example.com", "127.0.0.1:8787", "[::1]:9", "localhost"])
around = st.sampled_from(
    [("", ""), ("'", "'"), ('"', '"'), ("(", ")"), ("<", ">"), ("to ", ", it said"), ("url=", ".")]
)


@given(parts, parts, words, hosts, around, st.sampled_from(["http", "https", "HTTPS", "unix+https"]))
def test_redact_keeps_only_scheme_and_host_of_a_url(
    path: str, query: str, userinfo: str, host: str, quotes: tuple[str, str], scheme: str
) -> None:
    url = f"{scheme}://{userinfo}:{userinfo}@{host}/services/{path}?key={query}#{path}"
    shown = redact(f"POST {quotes[0]}{url}{quotes[1]} failed")
    assert not any(secret in shown for secret in (path, query, userinfo))
    assert f"{scheme}://{host}/..." in shown
    assert shown.startswith("POST ")
    assert shown.endswith(" failed")


@given(parts, hosts)
def test_redact_hides_url_passwords_with_special_characters(password: str, host: str) -> None:
    shown = redact(f"no answer from https://notifier:{password}@{host}/hook")
    assert password.strip("x") not in shown
    assert all(piece not in shown for piece in password.split("@") if len(piece) > 7)


@given(words, words)
def test_redact_hides_secrets_in_urls_with_json_escaped_slashes(path: str, userinfo: str) -> None:
    shown = redact(f'{{"url":"https:\\/\\/{userinfo}@hooks.example.com\\/services\\/{path}"}}')
    assert path not in shown
    assert userinfo not in shown
    assert "https:\\/\\/hooks.example.com/..." in shown


@given(
    st.text(UNRESERVED + "+/=", min_size=6, max_size=60), st.sampled_from(["Bearer ", "bearer  ", "BEARER\t"]), around
)
def test_redact_hides_a_bearer_token(token: str, scheme: str, quotes: tuple[str, str]) -> None:
    shown = redact(f"refused {quotes[0]}{scheme}{token}{quotes[1]}")
    assert scheme + token not in shown
    assert shown.startswith(f"refused {quotes[0]}{scheme}[secret]")


@pytest.mark.parametrize("credentials", ["dXNlcjpwYXNzd29yZA==", "bm90aWZpZXI6aHVudGVyMg==", "dXNlcjpwYXNz"])
def test_redact_hides_basic_credentials(credentials: str) -> None:
    assert redact(f"Authorization: Basic {credentials} was refused") == "Authorization: Basic [secret] was refused"


@given(st.text(string.ascii_letters + string.digits + "+/", min_size=1, max_size=60), st.sampled_from(["", "=", "=="]))
def test_redact_hides_a_webhook_secret(secret: str, padding: str) -> None:
    assert redact(f"signed with whsec_{secret}{padding}.") == "signed with [secret]."


@given(
    st.sampled_from(["token", "access_token", "client_secret", "Password", "api_key", "X-Api-Key", "apikey"]),
    st.sampled_from(["{}={}", "{}: {}", '"{}": "{}"', "'{}': '{}'", '\\"{}\\":\\"{}\\"', "{} = {}", "{}='{}'"]),
    words,
)
def test_redact_hides_the_value_of_a_field_named_like_a_secret(name: str, form: str, secret: str) -> None:
    assert secret not in redact("refused: " + form.format(name, secret) + " said the peer")


@given(st.lists(st.text(min_size=4), min_size=1, max_size=4), st.text(), st.text())
def test_redact_hides_given_secrets_anywhere_in_the_text(secrets: list[str], before: str, after: str) -> None:
    for secret in secrets:
        shown = redact(f"{before}{secret}{after}", *secrets)
        left = shown.replace("[secret]", "\N{REPLACEMENT CHARACTER}" * 4)
        assert secret not in left or secret in "\N{REPLACEMENT CHARACTER}" * 4


def test_redact_hides_the_whole_secret_if_it_contains_another_one() -> None:
    assert redact("key-and-more", "key-", "key-and-more") == "[secret]"


def test_redact_ignores_given_secrets_that_are_too_short() -> None:
    assert redact("a cat sat", "a", "cat", "") == "a cat sat"


@pytest.mark.parametrize(
    "sentence",
    [
        "the token lacks the permission",
        "the API does not know the token; enter a valid one as the source's `token`",
        "token_permission",
        "a secret was not set, and no password either",
        "Basic Training, Basic Forklift Safety and basic understanding",
        "no whole answer within 15 seconds",
        "the name hooks.example.com could not be resolved",
        "TLS failed: self-signed certificate",
        "Bearer of bad news",
        "1:2 ratio; see https://example.com and http://127.0.0.1:8787/",
        "state file /var/lib/notifier/notifier.db: the disk is full",
        "12:00 // a comment",
    ],
)
def test_redact_leaves_ordinary_sentences_unchanged(sentence: str) -> None:
    assert redact(sentence) == sentence


@given(st.text(), st.text(UNRESERVED, min_size=4))
@example("secr", "secr")
def test_redact_is_idempotent(text: str, secret: str) -> None:
    once = redact(f"{text} https://a:b@c/d Bearer {secret}{secret}", secret)
    assert redact(once, secret) == once


def test_redact_finishes_on_long_repetitive_texts() -> None:
    for text in ("a://" * 50_000, "a" * 200_000, "token=" * 30_000, "https://" + "a@" * 100_000, "Bearer " * 30_000):
        redact(text)


@pytest.fixture
def configured_secret() -> Iterator[str]:
    """A secret of the configuration."""
    secret = 'S/3cr"et+of/the-configuration'
    remember_secrets([secret, "short"])
    yield secret
    redaction._remembered.clear()


def test_redact_hides_a_remembered_secret_in_every_encoding(configured_secret: str) -> None:
    forms = (
        configured_secret,
        json.dumps(configured_secret),
        json.dumps(configured_secret).replace("/", "\\/"),
        quote(configured_secret, safe=""),
    )
    for form in forms:
        assert redact(f"it said {form.strip(chr(34))} and no more") == "it said [secret] and no more"
        assert hide_remembered(f"/path https://host/x {configured_secret}") == "/path https://host/x [secret]"
    assert redact("a short word") == "a short word"


@given(words, st.integers(4, 30), st.sampled_from(["", "…", "...", "`", "…`"]))
def test_hide_partial_secret_hides_the_beginning_of_a_cut_secret(secret: str, size: int, end: str) -> None:
    shown = hide_partial_secret(f"refused: {secret[:size]}{end}", secret)
    assert shown == f"refused: [secret]{end}"


@pytest.mark.parametrize(
    ("end", "shown"), [("ababab", "[secret]"), ("xababab", "x[secret]"), ("ababacab", "ababacab"), ("aba", "aba")]
)
def test_hide_partial_secret_hides_the_longest_part_of_a_repetitive_secret(end: str, shown: str) -> None:
    assert hide_partial_secret(f"refused: {end}", "abababcd") == f"refused: {shown}"


def test_hide_partial_secret_hides_four_characters_of_a_secret_and_keeps_three(configured_secret: str) -> None:
    assert hide_partial_secret("nothing was cut S/3") == "nothing was cut S/3"
    assert hide_partial_secret("nothing was cut S/3c") == "nothing was cut [secret]"
    assert configured_secret
