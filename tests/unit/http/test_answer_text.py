import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.http.answer_text import LONGEST_DETAIL, header_secrets, safe_line, url_secrets


@given(st.text(st.characters(), max_size=2000))
def test_safe_line_returns_one_short_printable_line(text: str) -> None:
    line = safe_line(text, ())
    assert len(line) <= LONGEST_DETAIL
    assert line.isprintable()


def test_safe_line_hides_a_secret_before_it_cuts_the_text() -> None:
    secret = "0123456789abcdef"
    assert "0123" not in safe_line("x" * (LONGEST_DETAIL - 8) + secret, (secret,))


def test_url_secrets_returns_each_secret_encoded_and_decoded() -> None:
    secrets = url_secrets("https://user:pa%2Fss@host.example/hooks/abcdefghijklmnop%20q?key=long%20value&b=")
    assert set(secrets) >= {
        "/hooks/abcdefghijklmnop%20q",
        "/hooks/abcdefghijklmnop q",
        "abcdefghijklmnop%20q",
        "abcdefghijklmnop q",
        "pa%2Fss",
        "pa/ss",
        "key=long%20value&b=",
        "long value",
    }
    assert not {"", "hooks", "host.example"} & set(secrets)


@pytest.mark.parametrize("url", ["https://host.example", "https://host.example/"])
def test_url_secrets_of_a_bare_host_returns_only_the_url(url: str) -> None:
    assert url_secrets(url) == (url,)


def test_safe_line_hides_an_incomplete_secret_at_the_end() -> None:
    secret = "key-of-17-letters"
    assert safe_line(f"refused {secret[:15]}", (secret,)) == "refused [secret]"


def test_safe_line_hides_url_credentials_in_their_basic_form() -> None:
    secrets = url_secrets("https://notifier:pa%2Fssword@host.example/hook")
    assert (
        safe_line("Basic bm90aWZpZXI6cGEvc3N3b3Jk, or bm90aWZpZXI6cGEvc3N3b3Jk", secrets)
        == "Basic [secret], or [secret]"
    )
    assert "pa/ssword" not in safe_line("notifier:pa/ssword", secrets)


def test_safe_line_hides_basic_credentials_encoded_and_decoded() -> None:
    secrets = header_secrets("Basic bm90aWZpZXI6cGEvc3N3b3Jk")
    assert safe_line("I know pa/ssword and bm90aWZpZXI6cGEvc3N3b3Jk", secrets) == "I know [secret] and [secret]"
    assert header_secrets("Basic not base64") == ("Basic not base64", "not base64")


def test_safe_line_hides_a_path_that_json_escapes() -> None:
    assert safe_line(r'{"path": "\/services\/T0\/B0\/x"}', url_secrets("https://h.example/services/T0/B0/x")) == (
        '{"path": "[secret]"}'
    )
