"""No secret is ever printed, even at the debug level and with servers that echo each request."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from notifier.cli.app import COMMANDS
from tests.support.command_line import Home
from tests.support.servers import serving
from tests.support.waiting import until

pytestmark = pytest.mark.end_to_end

TOKEN = "kpaTokenMustNotShow77"
SLACK = "T0SLACK/B0PART/slackPathMustNotShow"
PASSWORD = "hookPasswordMustNotShow"
QUERY = "hookQueryMustNotShow"
PATH = "hookPathMustNotShow"
HEADER = "headerValueMustNotShow"
SIGNING = "whsec_TXVzdE5vdFNob3dNdXN0Tm90U2hvd011c3ROb3RTaG93"
BEAT = "beatPathMustNotShow"
LOCAL = "localTokenMustNotShow"
SECRETS = (TOKEN, "slackPathMustNotShow", PASSWORD, QUERY, PATH, HEADER, SIGNING.removeprefix("whsec_"), BEAT, LOCAL)

ARGUMENTS = {
    "check": [["--online"]],
    "test": [["hr"], ["basic"], ["channel"], ["gone"], ["hr", "--preview"]],
    "explain": [["0"]],
    "poll": [["acme"]],
    "sweep": [["acme"]],
    "replay": [["--since", "2020-01-01"]],
    "enable": [["hr"]],
    "disable": [["hr"]],
    "schema": [["config"], ["event"]],
}
UNTIL_A_SIGNAL = {"run", "demo", "sandbox", "listen", "receive"}
NEEDS_NO_CONFIGURATION = {*UNTIL_A_SIGNAL, "init", "install-service", "completion", "man", "monitoring"}


@dataclass
class EchoServer:
    """A server that echoes each request in its answer, and fails in different ways."""

    url: str = ""
    answers: int = 0
    styles: "itertools.cycle[str]" = field(
        default_factory=lambda: itertools.cycle(["text", "json", "object", "broken", "redirect", "cut", "refuse"])
    )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        said = (await request.read()).decode()
        told = f"{request.url} {dict(request.headers)} {said}"
        self.answers += 1
        match next(self.styles):
            case "text":
                return web.Response(status=500, text=told)
            case "json":
                return web.json_response({"ok": False, "error": "server_error", "description": told}, status=200)
            case "object":
                return web.json_response({"ok": False, "error": {"identifier": told, "description": told}}, status=400)
            case "broken":
                return web.Response(text=f'{{"ok": true, "said": "{told}', content_type="application/json")
            case "redirect":
                return web.Response(status=302, headers={"Location": str(request.url)})
            case "cut":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case _:
                return web.Response(status=422, reason=told[:200].replace("\n", " "), text=told)


@pytest.fixture
async def echo_server() -> AsyncIterator[EchoServer]:
    async with serve_echo() as this:
        yield this


@asynccontextmanager
async def serve_echo() -> AsyncIterator[EchoServer]:
    this = EchoServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", this.answer)
    async with serving(app, access_log=None) as url:
        this.url = url.removeprefix("http://")
        yield this


@pytest.fixture
async def home(tmp_path: Path, echo_server: EchoServer) -> Home:
    this = Home(tmp_path)
    this.config.write_text(configuration(echo_server.url))
    await this.remember("David Ball", "Jorge Miller", to=("hr", "basic", "channel", "gone"))
    return this


def configuration(peer: str, log: str = "text") -> str:
    return f"""
[store]
path = "notifier.db"
[log]
level = "debug"
format = "{log}"
[http]
listen = ""
token = "{LOCAL}"
[alerts]
heartbeat_url = "http://{peer}/{BEAT}"
destination = "hr"
[sources.acme]
base_url = "http://{peer}/v1"
token = "{TOKEN}"
poll_interval = "50ms"
rate_limit_pause = "50ms"
requests_per_minute = 60000
[destinations.hr]
type = "http"
url = "http://{peer}/{PATH}?key={QUERY}"
secret = "{SIGNING}"
headers = {{ Authorization = "Bearer {HEADER}", X-Key = "{HEADER}" }}
retry_first = "20ms"
retry_max = "20ms"
[destinations.channel]
type = "slack"
url = "http://{peer}/services/{SLACK}"
retry_first = "20ms"
retry_max = "20ms"
rate = 0
[destinations.basic]
type = "http"
url = "http://user:{PASSWORD}@{peer}/{PATH}?key={QUERY}"
retry_first = "20ms"
retry_max = "20ms"
[destinations.gone]
type = "http"
url = "http://user:{PASSWORD}@127.0.0.1:9/{PATH}?key={QUERY}"
retry_first = "20ms"
retry_max = "20ms"
"""


def secrets_in(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("log", ["text", "json", "journal"])
async def test_daemon_at_debug_level_prints_no_secret_while_everything_fails(
    home: Home, echo_server: EchoServer, log: str
) -> None:
    home.config.write_text(configuration(echo_server.url, "auto" if log == "journal" else log))
    out = home.folder / "out"
    environ = {**os.environ, **({"JOURNAL_STREAM": "8:1"} if log == "journal" else {})}
    with out.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "notifier", "run", "--verbose", "--config", str(home.config)],
            stdout=file,
            stderr=file,
            env=environ,
        )
    try:
        await until(lambda: echo_server.answers > 60 and home.socket.exists())
        # While the daemon runs, it reads a configuration whose errors concern secrets, and reports the errors.
        home.config.write_text(
            configuration(echo_server.url).replace("https://", "").replace(f"http://{echo_server.url}", TOKEN)
        )
        process.send_signal(signal.SIGHUP)
        await until(lambda: "could not be read again" in out.read_text())
        home.config.write_text(configuration(echo_server.url))
        for command in ("status", "deliveries"):
            said = await home.call(command, "--json")
            assert not secrets_in(said.out + said.err)
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 10)
    said_all = out.read_text()
    assert secrets_in(said_all) == []
    assert said_all.count("attempt failed") > 5
    assert {"text": " debug ", "json": '"level":"debug"', "journal": "<7>"}[log] in said_all
    if log == "json":
        assert all(json.loads(line) for line in said_all.splitlines())


async def test_verbose_commands_print_no_secret(home: Home) -> None:
    said = {}
    for command in sorted(set(COMMANDS) - NEEDS_NO_CONFIGURATION):
        for arguments in ARGUMENTS.get(command, [[]]):
            said[command] = await home.call("--verbose", command, *arguments)
            assert secrets_in(said[command].out + said[command].err) == [], command
            assert "Traceback" not in said[command].err
    assert said["poll"].code == 1
    assert "acme" in said["poll"].err


@pytest.mark.parametrize("command", ["check", "run", "status"])
async def test_invalid_configuration_is_reported_without_secrets(home: Home, command: str) -> None:
    text = home.config.read_text()
    for wrong in (
        text.replace("token = ", "tokn = "),
        text.replace(f'"{TOKEN}"', f'["{TOKEN}"]'),
        text.replace(f'token = "{TOKEN}"', f'token = "{TOKEN}'),
        text.replace(SIGNING, f"{SIGNING}!"),
        text.replace('url = "http://user:', 'url = "ftp://user:'),
        text.replace(f'"Bearer {HEADER}"', f'"Bearer {HEADER}\\n"'),
    ):
        assert wrong != text
        home.config.write_text(wrong)
        said = await home.call("--verbose", command)
        assert said.code == 78
        assert secrets_in(said.out + said.err) == []


@pytest.mark.parametrize("log", ["", "import notifier.log as l; l.setup('info', 'json');"])
def test_crash_prints_its_traceback_without_secrets(home: Home, log: str) -> None:
    script = (
        f"import sys; from notifier.cli import daemon_client, main; {log}\n"
        "def fall(*_, **__): raise RuntimeError("
        f"'POST http://user:{PASSWORD}@example.com/{PATH}?key={QUERY} with Bearer {HEADER} and {SIGNING}')\n"
        "daemon_client.request = fall\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "status", "--config", str(home.config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert "please report it" in done.stderr
    assert "example.com" in done.stderr
    assert secrets_in(done.stderr + done.stdout) == []
