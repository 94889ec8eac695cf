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
def test_an_address_is_understood_and_written_as_it_was(written: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_listen(written) == address
    assert str(address) == written


def test_nothing_means_nowhere() -> None:
    assert parse_listen("") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "::1"])
def test_only_this_machine_reaches_loopback_addresses(host: str) -> None:
    assert TcpAddress(host, 1).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.example.com"])  # noqa: S104
def test_others_may_reach_every_other_address(host: str) -> None:
    assert not TcpAddress(host, 1).is_loopback


def test_only_this_machine_reaches_a_unix_socket() -> None:
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
def test_what_is_no_address_is_refused_with_a_sentence(written: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_listen(written)


@given(st.text())
def test_text_is_an_address_or_is_refused_with_a_sentence(text: str) -> None:
    try:
        address = parse_listen(text)
    except ValueError as error:
        assert str(error).startswith("must ")  # noqa: PT017 - either way is right
    else:
        assert address is None or parse_listen(str(address)) == address
