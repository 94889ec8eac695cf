"""Hostile requests: each of them is refused, and the answer is plain text or JSON."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import hdrs

from notifier.web.security.headers import DEFAULT_HEADERS
from notifier.web.security.origin import has_json_or_no_body, is_forbidden_cross_origin
from tests.support.ways_in import WAYS, Way

if TYPE_CHECKING:
    from tests.support.local_interface import Interface, Open

SCRIPT = "<script>alert(1)</script>"
HTML = b"%3Cscript%3Ealert(1)%3C%2Fscript%3E"
JSON = b"Content-Type: application/json\r\n"
OWN = b"Host: localhost\r\n"
DO = b"POST /v1/sources/acme/poll HTTP/1.1\r\n"
LOOK = b"GET /v1/status HTTP/1.1\r\n"


@dataclass(frozen=True)
class Case:
    """A request as bytes, and the HTTP status of its refusal."""

    name: str
    status: int
    lines: bytes
    body: bytes = b""

    @property
    def sent(self) -> bytes:
        in_pieces = b"Transfer-Encoding" in self.lines
        length = b"Content-Length: %d\r\n" % len(self.body) if self.body and not in_pieces else b""
        return self.lines + length + b"Connection: close\r\n\r\n" + self.body


def host(written: bytes) -> bytes:
    return b"GET /v1/status HTTP/1.1\r\nHost: " + written + b"\r\n"


def path(written: bytes, method: bytes = b"GET") -> bytes:
    return method + b" " + written + b" HTTP/1.1\r\n" + OWN


REPLAY = b"POST /v1/replay HTTP/1.1\r\n" + OWN + JSON
RETRY = b"POST /v1/deliveries/retry HTTP/1.1\r\n" + OWN + JSON


def fetch_headers(site: bytes, mode: bytes, destination: bytes) -> bytes:
    """Return the `Sec-Fetch` headers that a browser adds to a request."""
    return b"Sec-Fetch-Site: %b\r\nSec-Fetch-Mode: %b\r\nSec-Fetch-Dest: %b\r\n" % (site, mode, destination)


CASES = [
    # Pages whose host name resolves to this machine (DNS rebinding).
    Case("a foreign host", 403, host(b"evil.example")),
    Case("a foreign host with the right port", 403, host(b"evil.example:8787")),
    Case("a foreign host below a loopback name", 403, host(b"localhost.evil.example")),
    Case("a foreign host before a loopback name", 403, host(b"evil.example.localhost")),
    Case("a loopback name as a user", 403, host(b"localhost@evil.example")),
    Case("a loopback name behind a foreign one", 403, host(b"evil.example, localhost")),
    Case("a loopback name with a path", 403, host(b"localhost/x")),
    Case("any address", 403, host(b"0.0.0.0")),
    Case("a loopback address in octal", 403, host(b"0177.0.0.1")),
    Case("a loopback address as one number", 403, host(b"2130706433")),
    Case("a loopback address in short", 403, host(b"127.1")),
    Case("a loopback address inside a name", 403, host(b"127.0.0.1.nip.io")),
    Case("an empty host", 403, host(b"")),
    Case("a host that is no UTF-8", 403, host(b"\xff\xfe")),
    Case("HTML as a host", 403, host(SCRIPT.encode())),
    Case("no host", 400, b"GET /v1/status HTTP/1.1\r\n"),
    Case("two hosts, the first one right", 400, host(b"localhost") + b"Host: evil.example\r\n"),
    Case("two hosts, the last one right", 400, host(b"evil.example") + OWN),
    Case("a foreign host behind a right target", 403, b"GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n"),
    Case("a forwarded host", 403, host(b"evil.example") + b"X-Forwarded-Host: localhost\r\n"),
    # Requests of a page of another origin.
    Case("no origin of its own", 403, DO + OWN + JSON + b"Origin: null\r\n", b"{}"),
    Case("a foreign origin", 403, DO + OWN + JSON + b"Origin: https://evil.example\r\n", b"{}"),
    Case("another port's origin", 403, DO + OWN + JSON + b"Origin: http://localhost:3000\r\n", b"{}"),
    Case("an origin that begins alike", 403, DO + OWN + JSON + b"Origin: http://localhost.evil.example\r\n", b"{}"),
    Case("a foreign site", 403, DO + OWN + JSON + b"Sec-Fetch-Site: cross-site\r\n", b"{}"),
    Case("another origin of the same site", 403, DO + OWN + JSON + b"Sec-Fetch-Site: same-site\r\n", b"{}"),
    Case("a link that does something", 403, DO + OWN + fetch_headers(b"cross-site", b"navigate", b"document")),
    Case("a script that loads", 403, LOOK + OWN + fetch_headers(b"cross-site", b"no-cors", b"script")),
    Case(
        "a stream that is read elsewhere",
        403,
        path(b"/v1/events/stream") + fetch_headers(b"same-site", b"cors", b"empty"),
    ),
    Case("a frame", 403, LOOK + OWN + fetch_headers(b"cross-site", b"navigate", b"iframe")),
    Case("leave asked for beforehand", 403, path(b"/v1/reload", b"OPTIONS") + b"Sec-Fetch-Site: cross-site\r\n"),
    # Requests that a form, or a script without permission, can send.
    Case("a form", 415, DO + OWN + b"Content-Type: application/x-www-form-urlencoded\r\n", b"a=b"),
    Case("an empty form", 415, DO + OWN + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n"),
    Case("a form of parts", 415, DO + OWN + b"Content-Type: multipart/form-data; boundary=x\r\n", b"--x--\r\n"),
    Case("JSON that says it is text", 415, DO + OWN + b"Content-Type: text/plain\r\n", b"{}"),
    Case("JSON that says nothing", 415, DO + OWN, b"{}"),
    Case("JSON that says it is both", 415, DO + OWN + b"Content-Type: text/plain; application/json\r\n", b"{}"),
    Case("pieces that say nothing", 415, DO + OWN + b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    # Overridden and unsupported methods.
    Case("a method in a header", 405, path(b"/v1/sources/acme/poll") + b"X-HTTP-Method-Override: POST\r\n"),
    Case("a method in the query", 405, path(b"/v1/sources/acme/poll?_method=POST")),
    Case("a trace", 405, path(b"/v1/status", b"TRACE")),
    Case("a tunnel", 404, b"CONNECT evil.example:443 HTTP/1.1\r\n" + OWN),
    Case("a deletion", 405, path(b"/v1/status", b"DELETE")),
    Case("HTML as a method", 400, path(b"/v1/status", b"<b>")),
    # Path traversal, although no folder is served.
    Case("steps up", 404, path(b"/v1/../../../etc/passwd")),
    Case("escaped steps up", 404, path(b"/v1/%2e%2e/%2e%2e/etc/passwd")),
    Case("steps up with escaped slashes", 404, path(b"/v1/..%2f..%2fetc%2fpasswd")),
    Case("steps up escaped twice", 404, path(b"/v1/%252e%252e%252fetc%252fpasswd")),
    Case("steps up with backslashes", 404, path(b"/v1/..%5c..%5cetc%5cpasswd")),
    Case("steps up in UTF-8 too long", 404, path(b"/v1/%c0%ae%c0%ae/etc/passwd")),
    Case("an escaped slash in the path", 404, path(b"/v1%2fstatus")),
    Case("a slash too many", 404, path(b"//v1/status")),
    Case("an end of text in the path", 404, path(b"/v1/status%00.json")),
    Case("steps up as a record", 404, path(b"/v1/records/..%2f..%2fstatus")),
    Case("a file's address", 400, b"GET file:///etc/passwd HTTP/1.1\r\n" + OWN),
    # Parts that are too large or too many.
    Case("a body too large", 413, DO + OWN + JSON, b"x" * 70_000),
    Case("a header too large", 400, LOOK + OWN + b"X: " + b"a" * 20_000 + b"\r\n"),
    Case("a path too long", 400, path(b"/" + b"a" * 20_000)),
    Case("too many headers", 400, LOOK + OWN + b"".join(b"X%d: a\r\n" % n for n in range(5_000))),
    Case("a number too large", 400, path(b"/v1/events?after=" + b"9" * 4_000)),
    Case("a source too long", 404, path(b"/v1/events?source=" + b"a" * 4_000)),
    # Attempts to inject a header into the answer, or a second request.
    Case("a header in the path", 404, path(b"/v1/%0d%0aSet-Cookie:%20a=b")),
    Case("a header in a name", 404, path(b"/v1/sources/%0d%0aSet-Cookie:%20a=b/poll", b"POST")),
    Case("a header in the query", 400, path(b"/v1/events?type=%0d%0aSet-Cookie:%20a=b")),
    Case("two lengths", 400, DO + OWN + JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n"),
    Case("a length and pieces", 400, DO + OWN + JSON + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    Case("a length that is none", 400, DO + OWN + JSON + b"Content-Length: +2\r\n"),
    Case("a header folded", 400, LOOK + OWN + b"X: a\r\n b\r\n"),
    Case("a header without a name", 400, LOOK + OWN + b": a\r\n"),
    Case("a lone carriage return", 400, LOOK + OWN + b"X: a\rSet-Cookie: a=b\r\n"),
    # HTML where text is expected.
    Case("HTML as a path", 404, path(b"/v1/" + HTML)),
    Case("HTML as a source", 404, path(b"/v1/sources/" + HTML + b"/poll", b"POST")),
    Case("HTML as a record", 404, path(b"/v1/records/" + HTML)),
    Case("HTML as a destination", 404, path(b"/v1/destinations/" + HTML + b"/test", b"POST")),
    Case("HTML as a type", 400, path(b"/v1/events?type=" + HTML)),
    Case("HTML as a field", 400, REPLAY, b'{"' + SCRIPT.encode() + b'": 1}'),
    Case("HTML as an event", 404, RETRY, b'{"event_ids": ["evt_gone"]}'),
    Case("HTML that is expected", 417, LOOK + OWN + b"Expect: " + SCRIPT.encode() + b"\r\n"),
    Case("HTML instead of a request", 400, SCRIPT.encode() + b"\r\n"),
    # Content that is not valid text.
    Case("a path that is no UTF-8", 404, path(b"/v1/records/%ff%fe")),
    Case("a path in raw bytes", 400, path(b"/v1/records/\xff\xfe")),
    Case("a query that is no UTF-8", 400, path(b"/v1/events?source=%ff%fe")),
    Case("a body that is no UTF-8", 400, REPLAY, b'{"since": "\xff\xfe"}'),
    Case("half a character", 400, REPLAY, b'{"since": "\\ud800"}'),
    Case("a body that is packed", 400, REPLAY + b"Content-Encoding: gzip\r\n", b"\x1f\x8b\x08"),
    Case("a body that is deep", 400, REPLAY, b"[" * 60_000),
    Case("a number that is none", 400, REPLAY, b'{"since": NaN}'),
    Case("a greeting for TLS", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_hostile_request_is_refused_with_a_text_or_json_answer(
    interface: "Interface", case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await interface.raw(case.sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    assert int(status.split()[1]) == case.status, answer
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    # Nothing was done.
    assert interface.daemon.done == []
    assert interface.daemon.deliveries.asked == []
    assert interface.feed.stream.reader_count == 0
    # The answer is text, and no part of the request has become a header.
    assert headers["content-type"] in {"application/json", "text/plain; charset=utf-8"}
    assert "set-cookie" not in headers
    assert "access-control-allow-origin" not in headers
    if headers["content-type"] == "application/json":
        assert body.startswith(b'{"error":{"reason":"')
    assert headers.items() >= {name.lower(): value for name, value in DEFAULT_HEADERS.items()}.items()
    assert headers["server"] == "completion-notifier"
    # The request is not an error of the notifier, and cannot fill the log.
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_hostile_requests_are_refused_by_every_listener(listen: "Open", tmp_path: Path, way: Way) -> None:
    entrance = await way.open(listen, tmp_path)
    daemon, feed = entrance.interface.daemon, entrance.interface.feed
    for case in CASES:
        credentials, status = entrance.credentials("localhost"), case.status
        if way.accepts_any_host and status == 403 and b"Origin" not in case.lines and b"Sec-Fetch" not in case.lines:
            # A page at another host has no token to send.
            credentials, status = {}, 401
        written = "".join(f"{name}: {value}\r\n" for name, value in credentials.items()).encode()
        answer = await entrance.raw(replace(case, lines=case.lines + written).sent)
        assert int(answer.split()[1]) == status, (case.name, answer)
        assert daemon.done == daemon.deliveries.asked == [], case.name
        assert feed.stream.reader_count == 0, case.name
        head = answer.partition(b"\r\n\r\n")[0].decode().lower()
        for name, value in DEFAULT_HEADERS.items():
            assert f"{name}: {value}".lower() in head, (case.name, name)
        assert "server: completion-notifier" in head, case.name


async def test_too_long_cookies_of_other_programs_are_named_in_the_answer(interface: "Interface") -> None:
    answer = await interface.raw(LOOK + OWN + b"Cookie: session=" + b"a" * 9_000 + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 400")
    assert b"cookies of other programs" in answer


async def test_link_from_another_site_is_answered(interface: "Interface") -> None:
    link = fetch_headers(b"cross-site", b"navigate", b"document")
    answer = await interface.raw(LOOK + OWN + link + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json_post_from_the_own_origin_is_accepted(interface: "Interface", kind: str) -> None:
    headers = {"Content-Type": kind, "Origin": interface.url, "Sec-Fetch-Site": "same-origin"}
    url = f"{interface.url}/v1/sources/acme/poll"
    async with interface.over_tcp.post(url, data=b"{}", headers=headers) as response:
        assert response.status == 200
    assert interface.daemon.done == [("poll", "acme")]


@pytest.mark.parametrize("headers", [b"", b"Content-Length: 0\r\n", b"Content-Length: 0\r\n" + JSON])
async def test_post_without_a_body_is_accepted(interface: "Interface", headers: bytes) -> None:
    answer = await interface.raw(DO + OWN + headers + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert interface.daemon.done == [("poll", "acme")]


async def test_every_answer_has_the_default_headers(interface: "Interface") -> None:
    for path_, method in (("/healthz", "GET"), ("/metrics", "GET"), ("/nowhere", "GET"), ("/v1/reload", "PUT")):
        async with interface.over_tcp.request(method, interface.url + path_) as response:
            assert response.headers.items() >= DEFAULT_HEADERS.items()
            assert response.headers[hdrs.SERVER] == "completion-notifier"
    async with interface.over_tcp.get(f"{interface.url}/v1/events/stream") as response:
        assert response.headers.items() >= DEFAULT_HEADERS.items()


@pytest.mark.parametrize(
    ("method", "headers", "foreign"),
    [
        ("GET", {}, False),
        ("POST", {}, False),
        ("POST", {"Host": "notifier.example", "Origin": "https://notifier.example"}, False),
        ("POST", {"Host": "notifier.example", "Origin": "https://notifier.example:8443"}, True),
        ("POST", {"Host": "a", "Origin": "https://a", "Sec-Fetch-Site": "same-origin"}, False),
        ("POST", {"Host": "a", "Origin": "https://a", "Sec-Fetch-Site": "cross-site"}, True),
        ("GET", {"Host": "a", "Origin": "https://b"}, False),
        ("GET", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, False),
        ("GET", {"Sec-Fetch-Site": "anything else"}, True),
    ],
)
def test_is_forbidden_cross_origin_checks_the_headers(method: str, headers: dict[str, str], *, foreign: bool) -> None:
    assert is_forbidden_cross_origin(method, headers) is foreign


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({}, True),
        ({"Content-Length": "0", "Content-Type": "application/octet-stream"}, True),
        ({"Content-Length": "2", "Content-Type": "application/octet-stream"}, False),
        ({"Content-Length": "2", "Content-Type": "application/json"}, True),
        ({"Transfer-Encoding": "chunked", "Content-Type": " application/json ;x=y"}, True),
        ({"Content-Type": "Text/Plain;charset=utf-8"}, False),
        ({"Transfer-Encoding": "chunked"}, False),
    ],
)
def test_has_json_or_no_body_checks_length_and_content_type(headers: dict[str, str], *, accepted: bool) -> None:
    assert has_json_or_no_body(headers) is accepted
