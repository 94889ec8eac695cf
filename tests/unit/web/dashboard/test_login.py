"""Signing in with the token, by a link and over TLS; signing out; and what ends with a session."""

import asyncio
import re
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.ways_in import TOKEN

if TYPE_CHECKING:
    from tests.support.local_interface import Interface, Open

HTML = {"Accept": "text/html"}


async def submit_token(interface: "Interface", token: str, origin: str, host: str = "") -> aiohttp.ClientResponse:
    headers = {"Origin": origin, **({"Host": host} if host else {})}
    return await interface.over_tcp.post(
        f"{interface.url}/sign-in", data={"token": token}, headers=headers, allow_redirects=False
    )


async def test_session_cookie_over_tls_is_valid_only_for_its_host_and_secure_name(listen: "Open") -> None:
    interface = await listen(token=TOKEN)
    response = await submit_token(interface, TOKEN, "https://notifier.example", "notifier.example")
    assert response.status == 303
    set_cookie = response.headers["Set-Cookie"]
    assert re.fullmatch(r"__Host-notifier_session=[\w-]+; HttpOnly; Path=/; SameSite=Strict; Secure", set_cookie), (
        set_cookie
    )
    cookie = set_cookie.partition(";")[0]
    for host, status in (("notifier.example", 200), ("other.example", 401)):
        headers = {"Host": host, "Cookie": cookie}
        async with interface.over_tcp.get(f"{interface.url}/v1/status", headers=headers) as answer:
            assert answer.status == status
    # The same under the name of a plain cookie, which another port of this host could have set.
    headers = {"Host": "notifier.example", "Cookie": cookie.removeprefix("__Host-")}
    async with interface.over_tcp.get(f"{interface.url}/v1/status", headers=headers) as answer:
        assert answer.status == 401


async def test_session_cookie_without_tls_has_the_port_in_its_name(listen: "Open") -> None:
    interface = await listen(token=TOKEN)
    response = await submit_token(interface, TOKEN, interface.url)
    assert re.fullmatch(
        rf"notifier_session_{interface.port}=[\w-]+; HttpOnly; Path=/; SameSite=Strict", response.headers["Set-Cookie"]
    )


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"token=\xff\xfe&next=\xff"),
        ("application/x-www-form-urlencoded", b"token=%ff%fe&next=%ff"),
        ("application/x-www-form-urlencoded; charset=none", b"token=x"),
        ("application/x-www-form-urlencoded; charset=utf-16", b"token=x"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b"token=x"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\nx\r\n--x--\r\n',
        ),
        ("application/json", b"{"),
    ],
)
async def test_sign_in_treats_a_malformed_body_as_a_wrong_token(
    listen: "Open", kind: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    interface = await listen(token=TOKEN)
    headers = {"Origin": interface.url, "Content-Type": kind}
    async with interface.over_tcp.post(f"{interface.url}/sign-in", data=body, headers=headers) as response:
        assert response.status == 403
        assert "That is not the token" in await response.text()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_sign_in_without_a_configured_token_rejects_every_token(listen: "Open") -> None:
    interface = await listen(anonymous=False)
    for token in ("", "x", TOKEN):
        response = await submit_token(interface, token, interface.url)
        assert response.status == 403
        assert "Set-Cookie" not in response.headers
    async with interface.over_tcp.get(f"{interface.url}/sign-in", headers=HTML) as response:
        page = await response.text()
    assert "notifier dashboard" in page
    assert 'name="token"' not in page


@pytest.mark.parametrize("place", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:x", '/"x'])
async def test_sign_in_link_never_redirects_to_another_site(listen: "Open", place: str) -> None:
    interface = await listen(anonymous=False)
    async with interface.over_socket.post("http://localhost/v1/sign-in-link") as made:
        link = (await made.json())["url"]
    async with interface.over_tcp.get(link, params={"link": link.partition("=")[2], "next": place}) as response:
        text = await response.text()
    assert "evil.example" not in text
    assert "javascript:" not in text
    assert re.search(r'content="0; url=/(&#34;x)?"', text)


async def test_sign_out_ends_only_the_streams_of_its_session(listen: "Open") -> None:
    interface = await listen(token=TOKEN)
    sessions = [await submit_token(interface, TOKEN, interface.url) for _ in range(2)]
    cookies = [{"Cookie": one.headers["Set-Cookie"].partition(";")[0]} for one in sessions]
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    url = f"{interface.url}/v1/events/stream"
    async with (
        interface.over_tcp.get(url, headers=cookies[0]) as ends,
        interface.over_tcp.get(url, headers=cookies[1]) as stays,
        interface.over_tcp.get(url, headers=bearer) as stays_too,
    ):
        out = {**cookies[0], "Origin": interface.url}
        async with interface.over_tcp.post(f"{interface.url}/sign-out", headers=out, allow_redirects=False) as response:
            assert response.status == 303
        async with asyncio.timeout(20):
            await ends.read()
        assert not stays.content.at_eof()
        assert not stays_too.content.at_eof()
        assert interface.feed.stream.reader_count == 2
    async with interface.over_tcp.get(f"{interface.url}/v1/status", headers=cookies[0]) as response:
        assert response.status == 401
