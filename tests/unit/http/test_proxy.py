"""Which proxy a request uses, according to the setting, the environment variables and the address."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.http.proxy import (
    DIRECT,
    Proxy,
    bypasses_proxy,
    proxy_environment,
    proxy_of,
    proxy_secrets,
    proxy_url_problem,
    unusable_variables,
)

API = "https://api.example.com/v1"
ENVIRON = {"HTTPS_PROXY": "http://one.example:3128", "HTTP_PROXY": "http://two.example", "NO_PROXY": "near.example"}


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (API, "one.example:3128"),
        ("http://api.example.com", "two.example:80"),
        ("https://near.example", None),
        ("https://very.near.example:8443", None),
        ("https://127.0.0.1:8443", None),
        ("https://127.8.9.10", None),
        ("https://[::1]/", None),
        ("https://LocalHost.", None),
        ("ntfys://api.example.com", None),
        ("", None),
    ],
)
def test_proxy_of_uses_the_variable_of_the_scheme_except_for_local_hosts(url: str, address: str | None) -> None:
    found = proxy_of(url, "", ENVIRON)
    assert (None if found is None else str(found)) == address


def test_proxy_of_prefers_the_configured_proxy_to_variables_and_exceptions() -> None:
    for url in (API, "https://near.example", "http://127.0.0.1"):
        assert proxy_of(url, "http://mine.example:8080", ENVIRON) == Proxy("http://mine.example:8080", "proxy")
        assert proxy_of(url, DIRECT, ENVIRON) is None


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "big:1", "https_proxy": "small:2"}, ("http://small:2", "https_proxy")),
        ({"HTTPS_PROXY": "big:1", "https_proxy": " "}, ("http://big:1", "HTTPS_PROXY")),
        ({"HTTPS_PROXY": "big:1", "no_proxy": "*", "NO_PROXY": ""}, None),
        ({"HTTPS_PROXY": "socks5://socks:1080"}, None),
        ({"HTTPS_PROXY": "http://"}, None),
    ],
)
def test_proxy_of_prefers_lower_case_variables_and_ignores_unusable_ones(
    environ: dict[str, str], expected: tuple[str, str] | None
) -> None:
    found = proxy_of(API, "", environ)
    assert (None if found is None else (found.url, found.origin)) == expected


def test_proxy_of_ignores_upper_case_http_proxy_in_a_cgi_program() -> None:
    environ = {"HTTP_PROXY": "http://evil.example", "REQUEST_METHOD": "GET"}
    assert proxy_of("http://api.example.com", "", environ) is None
    small = proxy_of("http://api.example.com", "", {**environ, "http_proxy": "http://good.example"})
    assert small is not None
    assert small.host == "good.example"


@pytest.mark.parametrize(
    ("host", "port", "exceptions", "expected"),
    [
        ("example.com", 443, "example.com", True),
        ("a.example.com", 443, "example.com", True),
        ("a.example.com", 443, ".example.com", True),
        ("a.example.com", 443, "*.EXAMPLE.com", True),
        ("anexample.com", 443, "example.com", False),
        ("example.com.", 443, "example.com", True),
        ("example.com", 443, "other.example, example.com", True),
        ("example.com", 443, "other.example example.com", True),
        ("example.com", 443, "example.com:443", True),
        ("example.com", 8443, "example.com:443", False),
        ("example.com", 443, "*", True),
        ("example.com", 443, "", False),
        ("example.com", 443, ",, ,.", False),
        ("10.1.2.3", 443, "10.0.0.0/8", True),
        ("11.1.2.3", 443, "10.0.0.0/8", False),
        ("10.1.2.3", 443, "10.1.2.3", True),
        ("10.1.2.3", 443, "10.1.2.3:443", True),
        ("10.1.2.3", 80, "10.1.2.3:443", False),
        ("10.1.2.3", 443, "2.3", False),
        ("fd00::1", 443, "fd00::/8", True),
        ("fd00::1", 443, "[fd00::1]:443", True),
        ("fd00::1", 80, "[fd00::1]:443", False),
        ("fd00::1", 443, "fd00::1", True),
    ],
)
def test_bypasses_proxy_matches_hosts_and_networks(host: str, port: int, exceptions: str, expected: bool) -> None:
    assert bypasses_proxy(host, port, exceptions) is expected


@given(st.text(max_size=60), st.sampled_from(["example.com", "10.1.2.3", "::1", ""]), st.integers(0, 65535))
def test_bypasses_proxy_accepts_exceptions_of_any_text(exceptions: str, host: str, port: int) -> None:
    assert bypasses_proxy(host, port, exceptions) in (True, False)
    assert bypasses_proxy(host, port, f"{exceptions},*") is True


@given(st.ip_addresses(), st.integers(0, 32))
def test_bypasses_proxy_matches_an_address_in_a_network(address: ipaddress.IPv4Address, size: int) -> None:
    network = ipaddress.ip_network((address, size), strict=False)
    assert bypasses_proxy(str(address), 443, str(network))


@given(st.text(max_size=80))
def test_proxy_url_problem_accepts_any_text_and_does_not_repeat_it(url: str) -> None:
    problem = proxy_url_problem(url)
    if problem is None:
        found = Proxy(url, "proxy")
        assert found.host
        assert str(found)
    elif len(url) > 8:
        assert url not in problem


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("socks5h://proxy.example:1080", "SOCKS"),
        ("ftp://proxy.example", "begins with http:// or https://"),
        ("http://proxy.example:99999", "valid host and port"),
        ("http://proxy example", "without spaces"),
        ("proxy.example:3128", "begins with http:// or https://"),
        ("http://" + "x" * 64 + ".example", "valid host"),
    ],
)
def test_proxy_url_problem_names_the_problem(url: str, problem: str) -> None:
    described = proxy_url_problem(url)
    assert described is not None
    assert problem in described


def test_unusable_variables_names_them_and_proxy_secrets_returns_passwords() -> None:
    environ = {"HTTPS_PROXY": "socks5://user:hidden@socks:1080", "http_proxy": "user:p%40ss@two.example:3128"}
    assert [(name, "SOCKS" in problem) for name, problem in unusable_variables(environ)] == [("HTTPS_PROXY", True)]
    assert list(proxy_secrets(environ)) == ["http://user:p%40ss@two.example:3128", "p%40ss", "p@ss"]


def test_proxy_str_and_repr_contain_no_credentials() -> None:
    proxy = Proxy("https://user:hidden@[fd00::1]:3129", "HTTPS_PROXY")
    assert str(proxy) == "https://[fd00::1]:3129"
    assert "hidden" not in f"{proxy} {proxy!r}"


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        (DIRECT, {}),
        ("http://mine:1", {"https_proxy": "http://mine:1", "http_proxy": "http://mine:1", "no_proxy": ""}),
        (
            "",
            {
                "https_proxy": "http://one.example:3128",
                "http_proxy": "http://two.example",
                "no_proxy": "near.example,localhost,127.0.0.0/8,::1",
            },
        ),
    ],
)
def test_proxy_environment_returns_the_proxy_as_variables(configured: str, expected: dict[str, str]) -> None:
    assert proxy_environment(configured, ENVIRON) == expected
