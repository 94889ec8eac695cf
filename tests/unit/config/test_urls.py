from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config import TcpAddress, UnixAddress, parse_listen


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("127.0.0.1:8787", TcpAddress("127.0.0.1", 8787)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("[::1]:8787", TcpAddress("::1", 8787)),
        ("0.0.0.0:65535", TcpAddress("0.0.0.0", 65535)),  # noqa: S104 - an example, nothing listens
        ("notifier.example.com:80", TcpAddress("notifier.example.com", 80)),
        ("unix:/run/notifier/notifier.sock", UnixAddress(Path("/run/notifier/notifier.sock"))),
    ],
)
def test_parse_listen_result_is_written_as_it_was_read(written: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_listen(written) == address
    assert str(address) == written


def test_parse_listen_of_empty_text_returns_none() -> None:
    assert parse_listen("") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "::1"])
def test_tcp_address_of_this_machine_is_loopback(host: str) -> None:
    assert TcpAddress(host, 1).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.example.com"])  # noqa: S104
def test_tcp_address_of_another_host_is_not_loopback(host: str) -> None:
    assert not TcpAddress(host, 1).is_loopback


def test_unix_address_is_loopback() -> None:
    assert UnixAddress(Path("/run/x.sock")).is_loopback


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("8787", '"host:port"'),
        (8787, '"host:port"'),
        (":8787", "name the host"),
        ("localhost:", "a port from 0 to 65535"),
        ("localhost:65536", "a port from 0 to 65535"),
        ("localhost:http", "a port from 0 to 65535"),
        ("localhost:-1", "a port from 0 to 65535"),
        ("::1:8787", "in brackets"),
        ("[::1:8787", "in brackets"),
        ("[127.0.0.1]:8787", "IPv6 address between the brackets"),
        ("http://localhost:8787", "in brackets"),
        ("a b:80", '"host:port"'),
        ("127.0.0..1:80", "valid host"),
        (f"{'x' * 64}.example.com:80", "valid host"),
        ("unix:notifier.sock", "absolute path"),
        ("unix:", "absolute path"),
        ("unix:/a\nb", "absolute path"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
    ],
)
def test_parse_listen_rejects_an_invalid_address_with_the_reason(written: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_listen(written)


@given(st.text())
def test_parse_listen_of_any_text_returns_an_address_or_raises_value_error(text: str) -> None:
    try:
        address = parse_listen(text)
    except ValueError as error:
        assert str(error).startswith("must ")  # noqa: PT017 - either way is right
    else:
        assert address is None or parse_listen(str(address)) == address
