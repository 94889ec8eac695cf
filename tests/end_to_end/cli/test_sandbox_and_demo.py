"""`notifier sandbox`, `notifier demo` and `notifier schema`, which need no configuration."""

import asyncio
import json
import re
import socket
from contextlib import closing
from io import StringIO
from typing import TYPE_CHECKING

import aiohttp
import pytest
from yarl import URL

from notifier.cli.parameter_types import RATE
from notifier.config import json_schema, load
from notifier.demo import run_demo
from notifier.destinations.webhook import event_schema
from tests.support.command_line import call, until

if TYPE_CHECKING:
    import subprocess

    from tests.support.command_line import Home


async def test_sandbox_serves_growing_records_and_prints_a_configuration(home: "Home") -> None:
    growing = ("--records", "250", "--rate", "50/s", "--no-rate-limit")
    with home.started("sandbox", "--listen", "127.0.0.1:0", *growing) as process:
        introduction = await asyncio.to_thread(read_until, process, "Ctrl-C")
        home.config.write_text(introduction[introduction.index("[sources.sandbox]") : introduction.index("Ctrl-C")])
        source = load(home.config, environ={}).sources["sandbox"]
        async with aiohttp.ClientSession() as session:

            async def has_grown() -> bool:
                request = {"token": source.token.get_secret_value(), "limit": 1}
                async with session.post(f"{source.base_url}/completedtrainings.v2.list", json=request) as response:
                    records: int = json.loads(await response.read())["paging"]["last_page"]
                return records > 250

            await until(has_grown)
        err = await home.end(process)
    assert (process.returncode, err) == (0, "")
    assert "250 completed trainings" in introduction
    assert "limit     none" in introduction


def read_until(process: "subprocess.Popen[str]", word: str) -> str:
    assert process.stdout is not None
    said = ""
    while word not in said:
        said += process.stdout.readline()
    return said


async def test_sandbox_reports_an_address_in_use(home: "Home") -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = await home.run("sandbox", "--listen", address)
    assert said.code == 1
    assert said.err == f"Error: cannot listen on {address} (address already in use): give another --listen\n"


async def test_sandbox_simulates_faults_and_removes_them_on_request(home: "Home") -> None:
    with home.started("sandbox", "--listen", "127.0.0.1:0", "--fault", "hidden:2", "--fault", "total") as process:
        introduction = await asyncio.to_thread(read_until, process, "Ctrl-C")
        assert "fault     hidden:2" in introduction
        control = introduction.partition("control")[2].split()[0]
        async with aiohttp.ClientSession() as session:

            async def read_paging() -> dict[str, int]:
                url = f"{control.removesuffix('/control')}/v1/completedtrainings.v2.list"
                async with session.post(url, json={"token": "sandbox"}) as response:
                    paging: dict[str, int] = json.loads(await response.read())["paging"]
                return paging

            assert await read_paging() == {"last_page": 1, "total": 4}
            async with session.delete(f"{control}/faults/1") as response:
                assert response.status == 200
            assert await read_paging() == {"last_page": 1, "total": 6}
        err = await home.end(process)
    assert (process.returncode, err) == (0, "")


def test_sandbox_lists_its_faults() -> None:
    said = call("sandbox", "--list-faults")
    assert said.code == 0
    assert "late:DURATION" in said.out
    assert "POST /control/edits" in said.out


def test_sandbox_rejects_an_unknown_fault() -> None:
    said = call("sandbox", "--fault", "slow")
    assert said.code == 2
    assert "there is no fault `slow`" in said.err


@pytest.mark.parametrize(
    ("written", "per_second"), [("5/s", 5.0), ("30/m", 0.5), ("36/h", 0.01), ("2.5", 2.5), ("10000", 10_000.0)]
)
def test_rate_is_converted_to_a_number_per_second(written: str, per_second: float) -> None:
    assert RATE.convert(written, None, None) == pytest.approx(per_second)


@pytest.mark.end_to_end
async def test_demo_shows_the_dashboard_and_ends_by_itself(home: "Home") -> None:
    home.config.unlink()
    with home.started("demo", "--events", "2") as process:
        introduction = await asyncio.to_thread(read_until, process, "/sign-in?link=")
        link = introduction.split()[-1]
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            async with session.get(link) as response:
                assert (response.status, response.content_type) == (200, "text/html")
            async with session.get(URL(link).origin()) as response:
                assert 'id="verdict"' in await response.text()
        async with aiohttp.ClientSession() as session, session.get(URL(link).origin()) as response:
            assert response.status == 401
        out, err = await asyncio.to_thread(process.communicate)
    assert (process.returncode, err) == (0, "")
    assert "completion.created" in out


async def test_demo_reports_an_address_in_use(home: "Home") -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = await home.run("demo", "--listen", address)
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith(f"Error: cannot listen on {address}")


async def test_demo_prints_at_its_end_how_long_the_dashboard_stays_open() -> None:
    out = StringIO()
    await run_demo(1, None, out, stay_seconds=0.1)
    assert re.search(
        r"stays open for \d+ s more; Ctrl-C ends it: http://127\.0\.0\.1:\d+/sign-in\?link=", out.getvalue()
    )


def test_schema_prints_the_schemas_of_configuration_and_event() -> None:
    assert json.loads(call("schema", "config").out) == json_schema.schema()
    assert json.loads(call("schema", "event").out) == event_schema.schema()
