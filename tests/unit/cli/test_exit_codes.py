"""Every mistake has its exit code and an error message, and none prints a traceback."""

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from notifier.store.file.store import FileStore
from tests.support.command_line import READS_CONFIGURATION, call

if TYPE_CHECKING:
    from tests.support.command_line import Home

ARGUMENTS = {
    "test": ("hr",),
    "explain": ("1238",),
    "poll": ("acme",),
    "sweep": ("acme",),
    "release": ("acme", "removals"),
    "forget": ("nobody", "--yes"),
    "replay": ("--since", "2026-11-21"),
    "enable": ("hr",),
    "disable": ("hr",),
    "backup": ("copy.db",),
    "restore": ("copy.db",),
}

TOO_LONG = "n" * 300
"""A name that no file can have. `Path.exists` raises an error for it, as for a file in a folder without permission."""

GARBAGE = {
    "no TOML": (b"[sources", "not valid TOML"),
    "no text": (b"\xff\xfe\x00", "not UTF-8"),
    "nothing": (b"", "sources"),
    "a wrong value": (b'[sources.acme]\ntoken="t"\npoll_interval="soon"\n', "sources.acme.poll_interval"),
    "an unknown key": (b'[sources.acme]\ntoken="t"\npoll_intervall="1s"\n', "did you mean `poll_interval`"),
    "a wrong shape": (b"sources = 3\n", "sources"),
    "no token": (b"[sources.acme]\n", "sources.acme.token"),
    "terminal escapes": (b'[sources.acme]\ntoken="t"\n"\\u001b[31m" = 1\n', "sources.acme"),
}


@pytest.mark.parametrize("content", GARBAGE)
async def test_wrong_configuration_exits_78_and_names_the_problem(home: "Home", content: str) -> None:
    written, told = GARBAGE[content]
    home.config.write_bytes(written)
    said = await home.call("check")
    assert said.code == 78
    assert told in said.err
    assert said.err.startswith("Error: ")
    assert "\x1b" not in said.err
    assert said.out == ""


@pytest.mark.parametrize("name", READS_CONFIGURATION)
async def test_command_without_its_configuration_file_exits_78(home: "Home", name: str) -> None:
    home.config.unlink()
    said = await home.call(name, *ARGUMENTS.get(name, ()))
    assert said.code == 78
    assert "config.toml: cannot be read: No such file or directory" in said.err


async def test_configuration_without_read_permission_exits_78(home: "Home", monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, who can read every file.
    def refuse(_: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    said = await home.call("check")
    advice = "let the user that runs this read it, or run this as root (sudo)"
    assert (said.code, said.err) == (78, f"Error: {home.config}: cannot be read: Permission denied; {advice}\n")


def test_check_without_any_configuration_exits_78(monkeypatch: pytest.MonkeyPatch, home: "Home") -> None:
    home.config.unlink()
    monkeypatch.chdir(home.folder)
    said = call("check")
    assert said.code == 78
    assert "no configuration was found: looked for" in said.err


async def test_all_configuration_problems_are_reported_at_once(home: "Home") -> None:
    home.config.write_text('[sources.acme]\npage_size = 0\ntoken = "t"\ntimeout = "0s"\n')
    said = await home.call("check")
    assert said.err.startswith("Error: there are 2 problems with the configuration:\n  ")
    assert "  sources.acme.page_size: " in said.err
    assert "  sources.acme.timeout: " in said.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("poll", "acm"), "there is no source `acm`; did you mean `acme`?"),
        (("sweep", "zzz"), "there is no source `zzz`; known: acme"),
        (("release", "acm", "removals"), "there is no source `acm`; did you mean `acme`?"),
        (("release", "acme", "removal"), "did you mean `removals`?"),
        (("poll", "\x1b[31m"), "there is no source `?[31m`"),
        (("test", "hrr"), "there is no destination `hrr`; did you mean `hr`?"),
        (("deliveries", "--destination", "hrr"), "there is no destination `hrr`; did you mean `hr`?"),
        (("deliveries", "--state", "lost"), "'lost' is not one of 'pending', 'delivered', 'dead'"),
        (("deliveries", "--state", "ded"), "did you mean `dead`?"),
        (("retry", "--state", "pendin"), "did you mean `pending`?"),
        (("retry", *["evt_o5xz64gu32q36eieigh27fof3j"] * 1001), "name at most 1,000 events at once"),
        (("replay", "--since", "2026-11-21", "--type", "completed.created"), "did you mean `completion.created`?"),
        (("replay", "--since", "2026-11-21", "--source", "acm"), "there is no source `acm`; did you mean `acme`?"),
        (("replay", "--since", "2026-11-21", "--destination", ""), "'--destination': must not be empty"),
        (("replay", "--since", "2026-11-21", "--source", ""), "'--source': must not be empty"),
        (("replay", "--since", "2026-11-21", "--until", ""), "'--until': must not be empty"),
        (("deliveries", "drop", "evt_o5xz64gu32q36eieigh27fof3j", "--destination", ""), "must not be empty"),
        (("deliveries", "drop", ""), "must not be empty"),
        (("schema", "configg"), "did you mean `config`?"),
        (("completion", "zhs"), "did you mean `zsh`?"),
        (("status", "--jsn"), "Did you mean '--json'?"),
        (("events", "--after", "-1"), "--after"),
        (("events", "--after", "soon"), "--after"),
        (("demo", "--events", "0"), "--events"),
        (("demo", "--listen", "nowhere"), "host:port"),
        (("sandbox", "--listen", "unix:/tmp/there"), "only on host:port"),
        (("sandbox", "--listen", ""), "only on host:port"),
        (("sandbox", "--records", "0"), "--records"),
        (("sandbox", "--rate", "0/s"), "above 0"),
        (("sandbox", "--rate", "5/d"), "5/s, 5/m or 5/h"),
        (("sandbox", "--rate", "1000000"), "at most 10000/s"),
        (("schema", "nothing"), "'config', 'event'"),
        (("schema",), "Missing argument"),
        (("explain",), "Missing argument"),
        (("explain", "\x1b[31m"), "no source knows a record `?[31m`: check the key, and whether a sweep has read"),
        (("explain", "\udcff"), "no source knows a record `?`"),
        (("status", "--all"), "No such option"),
    ],
)
async def test_wrong_usage_exits_2_and_names_the_problem(home: "Home", arguments: tuple[str, ...], told: str) -> None:
    await home.remember("David Ball")
    said = await home.call(*arguments)
    assert said.code == 2
    assert told in said.err
    assert said.out == ""


@pytest.mark.parametrize("name", ["former", "HR System", "\udcff?#%/..", "\u00e9"])
@pytest.mark.parametrize(("command", "is_broken"), [("deliveries drop", False), ("enable", True), ("poll", True)])
async def test_name_that_the_daemon_does_not_know_exits_2(
    home: "Home", command: str, name: str, *, is_broken: bool
) -> None:
    async def refuse(request: web.Request) -> web.Response:
        named = request.match_info.get("name") or (await request.json())["destination"]
        error = {"reason": "unknown_name", "message": f"there is no {named.encode(errors='replace').decode()}"}
        return web.json_response({"error": error}, status=404)

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/healthz", answer)
    app.router.add_post("/v1/deliveries/drop", refuse)
    app.router.add_post("/v1/{kind}/{name:.+}/{verb:enable|poll}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(home.socket)).start()
    if is_broken:
        home.config.write_text(home.config.read_text() + "nonsense = 1\n")
    said = await home.call(*command.split(), name)
    await runner.cleanup()
    assert said.code == 2
    assert f"Error: the daemon says: there is no {name.encode(errors='replace').decode()}\n" in said.err


@pytest.mark.parametrize("name", ["status", "events", "deliveries", "explain"])
async def test_missing_state_file_exits_1_with_the_remedy(home: "Home", name: str) -> None:
    said = await home.call(name, *ARGUMENTS.get(name, ()))
    assert said.code == 1
    assert said.err == f"Error: there is no state file {home.state_file} yet: start `notifier run`\n"


@pytest.mark.parametrize("name", ["status", "events", "deliveries", "explain", "poll", "sweep", "release"])
async def test_file_that_is_not_a_state_file_exits_1(home: "Home", name: str) -> None:
    home.state_file.write_bytes(b"what is this?" * 1000)
    said = await home.call(name, *ARGUMENTS.get(name, ()))
    assert said.code == 1
    assert "is not a state file, or is damaged: name another path in [store]" in said.err


@pytest.mark.parametrize("name", ["events", "deliveries"])
async def test_damaged_state_file_exits_1_with_the_remedy(home: "Home", name: str) -> None:
    await home.remember(*(f"Person {number}" for number in range(500)))
    content = home.state_file.read_bytes()
    half = len(content) // 2
    home.state_file.write_bytes(content[:half] + b"\xff" * half)
    said = await home.call(name)
    assert said.code == 1
    assert "it is damaged: `notifier run` sets it aside when it starts and recovers what can be read" in said.err


@pytest.mark.parametrize("name", ["status", "events", "backup", "check"])
async def test_state_file_with_too_long_a_name_exits_78(home: "Home", name: str) -> None:
    home.config.write_text(home.config.read_text().replace("notifier.db", TOO_LONG))
    said = await home.call(name, *ARGUMENTS.get(name, ()))
    assert said.code == 78
    assert "store.path: must be a path of at most" in said.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("init", "new.toml", "--token", "t0ken", "--no-slack", "--no-http", "--secrets-dir"), 1),
        (("install-service", "--print", "--program"), 0),
        (("backup",), 1),
        (("restore",), 1),
    ],
)
async def test_path_with_too_long_a_name_is_not_an_internal_error(
    home: "Home", monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int
) -> None:
    monkeypatch.chdir(home.folder)
    assert (await home.call(*arguments, str(home.folder / TOO_LONG))).code == code


@pytest.mark.parametrize("name", ["poll", "sweep", "release"])
async def test_state_file_in_use_exits_1_and_names_the_process(home: "Home", name: str) -> None:
    store = FileStore(home.state_file)
    await store.open()
    try:
        said = await home.call(name, *ARGUMENTS.get(name, ()))
    finally:
        await store.close()
    assert said.code == 1
    assert f"is in use by process {home.lock_holder()}" in said.err
