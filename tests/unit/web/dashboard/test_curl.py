"""The curl command that repeats a request: a shell can run it, and a receiver accepts its signature."""

import asyncio
import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from aiohttp import web

from notifier.web.daemon_api import RequestPreview
from notifier.web.dashboard.curl import BODY_FILE, LONGEST_BODY_BYTES, curl_command
from tests.support.needed_programs import needed
from tests.support.servers import serving

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
NASTY = """{"name": "O'Brien $(touch owned) `id` \\\\ \\"x\\" müller"}"""


@pytest.fixture(autouse=True)
def programs() -> None:
    needed("curl", "curl")
    needed("openssl", "openssl")


def make_request(body: bytes, *, is_signed: bool = True) -> RequestPreview:
    hashed = ("X-Hub-Signature-256", "sha256=old,sha256=older")
    signed = (("webhook-signature", "v1a,new v1,old"), hashed) if is_signed else ()
    headers = (
        ("host", "hr.example"),
        ("user-agent", "completion-notifier/1"),
        ("authorization", "[hidden]"),
        ("content-type", "application/cloudevents+json"),
        ("webhook-id", "evt_a"),
        ("webhook-timestamp", "1"),
        *signed,
        ("content-length", "9"),
    )
    return RequestPreview(
        "https://hr.example/...",
        headers,
        body,
        is_over_http=True,
        is_signed=is_signed,
        hash_header="x-hub-signature-256" if is_signed else "",
        secret_headers=("authorization",),
    )


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize("size", ["short", "long"])
async def test_curl_command_sends_the_body_with_a_new_signature(tmp_path: Path, size: str, *, is_signed: bool) -> None:
    arrived: list[tuple[dict[str, str], bytes]] = []

    async def receive(got: web.Request) -> web.Response:
        arrived.append(({name.lower(): value for name, value in got.headers.items()}, await got.read()))
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_post("/hook", receive)
    body = NASTY.encode() if size == "short" else b'"%b"' % (b"x" * LONGEST_BODY_BYTES)
    (tmp_path / BODY_FILE).write_bytes(body)
    command = curl_command(make_request(body, is_signed=is_signed), "hr-system")
    async with serving(app) as url:
        filled = (
            command.replace("https://hr.example/...", f"{url}/hook")
            .replace("AUTHORIZATION='...'", "AUTHORIZATION='Bearer it'")
            .replace("SECRET='whsec_...'", f"SECRET='{SECRET}'")
        )
        shell = await asyncio.create_subprocess_exec(
            "sh", "-c", filled, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said, wrong = await shell.communicate()
    assert said == b"ok", wrong
    ((headers, content),) = arrived
    assert content == body
    assert headers["authorization"] == "Bearer it"
    assert headers["content-type"] == "application/cloudevents+json"
    assert not (tmp_path / "owned").exists()
    if is_signed:
        signed = f"evt_a.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        plain = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert headers["x-hub-signature-256"] == f"sha256={plain}"
        assert "a signature with the private key (whsk_...) is left out" in command
    assert int(headers["webhook-timestamp"]) > 10**9


def test_curl_command_repeats_a_signature_that_a_shell_cannot_make() -> None:
    headers = (("webhook-id", "evt_a"), ("webhook-timestamp", "17"), ("webhook-signature", "v1a,x"))
    command = curl_command(RequestPreview("a", headers, b"{}", is_over_http=True), "hr")
    assert "receivers refuse it" in command
    assert "--header 'webhook-timestamp: 17'" in command
    assert "--header 'webhook-signature: v1a,x'" in command


def test_curl_command_contains_no_secret() -> None:
    command = curl_command(make_request(b"{}"), "hr-system")
    assert "under [destinations.hr-system]" in command
    assert "[hidden]" not in command
    assert "v1,old" not in command
