"""Who may use the local HTTP interface, over each kind of listener."""

import asyncio
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import notifier
from notifier.web.security.guess_limiter import FREE_GUESSES
from tests.support.ways_in import TOKEN, WAYS, WRONG, Entrance, Way

if TYPE_CHECKING:
    from tests.support.local_interface import Open

DOCUMENTATION: Final = Path(notifier.__file__).parent / "docs" / "http-api.md"


@pytest.fixture(params=WAYS, ids=str)
async def entrance(request: pytest.FixtureRequest, listen: "Open", tmp_path: Path) -> Entrance:
    way: Way = request.param
    return await way.open(listen, tmp_path)


def error_reason(body: bytes) -> str:
    return str(json.loads(body)["error"]["reason"])


# Who may do what: the table of the documentation

ASKED: Final = {
    "`/healthz`, `/readyz`": ("GET", "/healthz", 200),
    "why `/readyz` is not ready": ("GET", "/readyz", 200),
    "`/metrics`": ("GET", "/metrics", 200),
    "the sign-in page": ("GET", "/sign-in", 200),
    "other requests that only read": ("GET", "/v1/status", 200),
    "requests that change something": ("POST", "/v1/sources/acme/poll", 200),
    "a link that signs in": ("POST", "/v1/sign-in-link", 200),
}
WHO: Final = {
    "everybody": {"stranger", "token", "session"},
    "token, signed in": {"token", "session"},
    "signed in": {"session"},
    "no one": set[str](),
}
COLUMNS: Final = ("the owner's socket", "`listen`", "with `token`", "with `anonymous`")


def rows_of_documentation() -> Iterator[tuple[str, str, str]]:
    """Yield the cells of the documentation's table: the request, the kind of listener, and who may send it."""
    text = DOCUMENTATION.read_text(encoding="utf-8")
    match = re.search(r"(?m)^\| what \|(?P<head>.*)\n\|(?:---\|)+\n(?P<rows>(?:\|.*\n)+)", text)
    assert match is not None
    columns = [cell.strip() for cell in match["head"].split("|")[:-1]]
    assert tuple(columns) == COLUMNS
    for row in match["rows"].splitlines():
        what, *cells = (cell.strip() for cell in row.split("|")[1:-1])
        for column, cell in zip(columns, cells, strict=True):
            yield what, column, cell


def column_of(way: Way) -> str:
    owner, plain, token, anonymous = COLUMNS
    if way.listener_kind == "owner":
        return owner
    return token if way.token else anonymous if way.anonymous else plain


def test_access_table_covers_every_request_and_listener() -> None:
    rows = [*rows_of_documentation()]
    assert {what for what, _, _ in rows} == ASKED.keys()
    assert {who for _, _, who in rows} <= WHO.keys()
    assert len(rows) == len(ASKED) * len(COLUMNS)


@pytest.mark.parametrize("what", ASKED)
@pytest.mark.parametrize(
    ("entrance", "caller"),
    [
        pytest.param(way, caller, id=f"{way}-{caller}")
        for way in WAYS
        for caller in ("stranger", "token", "session")
        if caller != "token" or way.token
    ],
    indirect=["entrance"],
)
async def test_each_caller_may_do_exactly_what_the_documentation_says(
    entrance: Entrance, what: str, caller: str
) -> None:
    way = entrance.way
    who = {(what, column): cell for what, column, cell in rows_of_documentation()}[what, column_of(way)]
    headers = {
        "stranger": dict[str, str](),
        "token": {"Authorization": f"Bearer {TOKEN}"},
        "session": entrance.session(),
    }[caller]
    entrance.interface.daemon.not_ready = {"acme": "timeout"} if what.startswith("why") else {}
    method, path, _ = ASKED[what]
    answer = await entrance.ask(method, path, **headers)
    if what.startswith("why"):
        assert answer.status == 503
        may = "unready" in json.loads(answer.body)
    elif path == "/sign-in":
        # A caller who may do everything needs no such page, and is redirected.
        may = answer.status == 200 or answer.headers["Location"] == "/"
    elif path == "/v1/sign-in-link" and way.listener_kind == "owner":
        # A daemon that listens on no port has no address for a link.
        may = answer.status in {200, 409}
    else:
        may = answer.status == 200
    assert may is (caller in WHO[who])
    assert entrance.interface.daemon.done == ([("poll", "acme")] if may and method == "POST" and "poll" in path else [])


# Names and origins


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8787",
        "127.8.7.6:1",
        "localhost",
        "LocalHost:8787",
        "localhost.:80",
        "[::1]",
        "[::1]:8787",
    ],
)
async def test_request_with_a_loopback_host_is_answered(entrance: Entrance, host: str) -> None:
    assert (await entrance.ask("GET", "/healthz", host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8787",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1:8787",
        "192.168.0.1",
        "[2001:db8::1]:8787",
        "[::1",
        "[::1].evil.example",
        "1",
    ],
)
async def test_request_with_a_foreign_host_is_refused(entrance: Entrance, host: str) -> None:
    for path in ("/healthz", "/v1/status", "/nothing"):
        session = entrance.session()
        answer = await entrance.ask("GET", path, host=host, **session)
        if entrance.way.accepts_any_host:
            # A page does not have the token, and a session that began at another host is not valid here.
            assert answer.status == (200 if path == "/healthz" else 401)
        else:
            assert (answer.status, error_reason(answer.body)) == (403, "foreign_host")


async def test_request_without_a_host_is_refused(entrance: Entrance) -> None:
    answer = await entrance.raw(b"GET /v1/status HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 401" if entrance.way.accepts_any_host else b"HTTP/1.0 403")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost:1", ""])
async def test_post_from_another_origin_is_refused(entrance: Entrance, origin: str) -> None:
    answer = await entrance.ask("POST", "/v1/sources/acme/poll", Origin=origin, **entrance.credentials())
    assert (answer.status, error_reason(answer.body)) == (403, "foreign_origin")
    assert entrance.interface.daemon.done == []


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything else"])
async def test_fetch_from_another_site_is_refused(entrance: Entrance, site: str) -> None:
    for method, path in (("GET", "/healthz"), ("GET", "/v1/status"), ("POST", "/v1/sources/acme/poll")):
        answer = await entrance.ask(method, path, Sec_Fetch_Site=site, **entrance.credentials())
        assert (answer.status, error_reason(answer.body)) == (403, "foreign_origin")
    assert entrance.interface.daemon.done == []


async def test_post_from_the_own_origin_is_accepted(entrance: Entrance) -> None:
    origin = f"http://{entrance.host}"
    answer = await entrance.ask("POST", "/v1/sources/acme/poll", Origin=origin, **entrance.credentials())
    assert answer.status == 200
    assert entrance.interface.daemon.done == [("poll", "acme")]


async def test_post_with_the_content_type_of_a_form_is_refused(entrance: Entrance) -> None:
    kinds = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
    for kind in kinds:
        answer = await entrance.ask("POST", "/v1/sources/acme/poll", Content_Type=kind, **entrance.credentials())
        assert (answer.status, error_reason(answer.body)) == (415, "unsupported_media_type")
    assert entrance.interface.daemon.done == []


# Tokens and sessions


@pytest.mark.parametrize(
    "sent",
    [
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer  {TOKEN}",
        "Bearer \udcff\udcfe",
    ],
)
async def test_wrong_authorization_header_is_refused(entrance: Entrance, sent: str) -> None:
    line = b"Authorization: " + sent.encode(errors="surrogateescape") + b"\r\n"
    for request in (b"GET /v1/status", b"GET /nothing", b"POST /v1/sources/acme/poll"):
        answer = await entrance.raw(request + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + line + b"\r\n")
        if entrance.way.is_trusted:
            assert not answer.startswith(b"HTTP/1.1 401")
        else:
            assert answer.startswith(b"HTTP/1.1 401")
            assert b"token_required" in answer
            assert b"WWW-Authenticate: Bearer" in answer
    assert entrance.interface.daemon.done == ([("poll", "acme")] if entrance.way.is_trusted else [])


@pytest.mark.parametrize("sent", [f"Bearer {TOKEN}", f"bearer {TOKEN}"])
async def test_right_token_is_accepted_with_a_foreign_host_where_any_host_is(entrance: Entrance, sent: str) -> None:
    answer = await entrance.ask("POST", "/v1/sources/acme/poll", host="notifier.example", Authorization=sent)
    assert answer.status == (200 if entrance.way.accepts_any_host else 403)


async def test_session_cookie_is_refused_at_another_port(entrance: Entrance) -> None:
    if entrance.way.is_trusted:
        return
    session = entrance.session()
    name, _, id_ = session["Cookie"].partition("=")
    for port in ("9999", "80"):
        for cookie in (f"notifier_session_{port}={id_}", f"{name}={id_}", f"__Host-notifier_session={id_}"):
            answer = await entrance.ask("GET", "/v1/status", host=f"127.0.0.1:{port}", Cookie=cookie)
            assert answer.status == 401
    assert (await entrance.ask("GET", "/v1/status", **session)).status == 200


@pytest.mark.parametrize("entrance", [way for way in WAYS if way.accepts_any_host], ids=str, indirect=True)
async def test_wrong_tokens_are_delayed_and_logged_and_the_right_one_is_accepted_at_once(
    entrance: Entrance, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    wrong = {"Authorization": f"Bearer {WRONG}"}
    # Paths that need no token must not reveal whether a token is right, either.
    paths = ("/v1/status", "/healthz", "/readyz", "/metrics", "/sign-in")
    answers = [await entrance.ask("GET", path, **wrong) for path in paths]
    assert [answer.status for answer in answers] == [401] * FREE_GUESSES
    began = loop.time()
    flood = [asyncio.create_task(entrance.ask("GET", "/v1/status", **wrong)) for _ in range(30)]
    done, _ = await asyncio.wait(flood, timeout=0.5)
    assert not done
    right = await entrance.ask("GET", "/v1/status", Authorization=f"Bearer {TOKEN}")
    assert right.status == 200
    # A right token does not end the delay of a guesser behind the same proxy.
    later = [await task for task in flood]
    assert loop.time() - began > 1
    refused = [answer for answer in later if answer.status == 429]
    # The first one may have come after the delay of the earlier requests was over.
    assert len(refused) >= len(later) - 1
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    noted = [record for record in caplog.records if record.getMessage() == "a wrong token was given"]
    assert FREE_GUESSES < len(noted) < 12
    peer = "127.0.0.1" if entrance.way.listener_kind == "tcp" else "uid "
    assert all(str(vars(record)["address"]).startswith(peer) for record in noted)
    assert {vars(record)["transport"] for record in noted} == {entrance.way.listener_kind.value}


async def test_client_that_disconnects_at_once_is_not_treated_as_the_owner(listen: "Open") -> None:
    interface = await listen("127.0.0.1:0", TOKEN)
    for _ in range(20):
        # All of this happens before the listener accepts the connection.
        visitor = socket.create_connection(("127.0.0.1", interface.port))
        visitor.sendall(b"POST /v1/sources/acme/poll HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        visitor.close()
    async with interface.over_socket.get("http://localhost/healthz") as response:
        assert response.status == 200
    await asyncio.sleep(0.05)
    assert interface.daemon.done == []


async def test_accepted_change_is_logged_with_caller_and_transport(
    entrance: Entrance, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await entrance.ask("GET", "/v1/status", **entrance.credentials())
    await entrance.ask("POST", "/v1/sources/acme/poll", host="evil.example")
    await entrance.ask("POST", "/v1/nothing", **entrance.credentials())
    await entrance.ask("POST", "/v1/destinations/hr/test", **entrance.credentials())
    (noted,) = [record for record in caplog.records if record.getMessage() == "a request that changes state"]
    facts = vars(noted)
    assert (facts["method"], facts["path"]) == ("POST", "/v1/destinations/hr/test")
    assert facts["transport"] == entrance.way.listener_kind.value
    assert facts["by"] == "127.0.0.1" if entrance.way.listener_kind == "tcp" else facts["by"].startswith("uid ")


STRANGER = """
import socket, sys, urllib.error, urllib.request
said = []
for path in ("/healthz", "/v1/status", "/v1/events"):
    try:
        said.append(urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}{path}", timeout=20).status)
    except urllib.error.HTTPError as error:
        said.append(error.code)
for path in sys.argv[2:]:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
    except PermissionError:
        said.append("refused")
print(said)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user; CI is")
async def test_another_user_of_the_machine_can_read_only_healthz(listen: "Open") -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        interface = await listen(anonymous=False, path=folder / "notifier.db.sock")
        other = await listen(f"unix:{folder}/configured.sock", path=folder / "other.db.sock", anonymous=False)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/env", "python3", "-c"]
        sockets = [str(interface.socket), str(folder / "configured.sock"), str(other.socket)]
        said = await asyncio.to_thread(
            subprocess.run,
            [*command, STRANGER, str(interface.port), *sockets],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
        )
    finally:
        shutil.rmtree(folder)
    assert said.stdout == "[200, 401, 401, 'refused', 'refused', 'refused']\n"
