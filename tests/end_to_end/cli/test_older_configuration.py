"""`enable` and `test` while the running daemon has not loaded the latest configuration."""

from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from tests.support.command_line import until

if TYPE_CHECKING:
    from tests.support.command_line import Api, Home, Receiver

SECRET = "whsec_" + "c2Vj" * 8


async def request_daemon(home: "Home", verb: str, path: str) -> dict[str, Any]:
    """Send a request over the daemon's socket, as the dashboard does."""
    connector = aiohttp.UnixConnector(str(home.socket))
    async with (
        aiohttp.ClientSession("http://localhost", connector=connector) as session,
        session.request(verb, path) as response,
    ):
        answer: dict[str, Any] = orjson.loads(await response.read())
        return answer


async def test_enable_with_an_older_configuration_in_the_daemon_asks_for_a_reload(
    home: "Home", api: "Api", receiver: "Receiver"
) -> None:
    """The URL of a revoked webhook was replaced in the configuration, but the daemon has not loaded the change yet."""
    home.configure(api.url, hr=f"{receiver.url}?revoked")
    receiver.status = 410
    await home.remember("Jorge Miller")

    async def is_disabled() -> bool:
        return bool((await request_daemon(home, "GET", "/v1/destinations/hr"))["state"] == "disabled")

    async with home.daemon():
        await until(is_disabled)
        home.configure(api.url, hr=receiver.url, more=f'secret = "{SECRET}"')
        said = await home.call("enable", "hr")
        assert said.code == 0
        assert said.out == (
            "hr is enabled\n"
            "But the daemon still uses an older configuration of hr: `url`, `secret` have changed since;"
            " run `notifier reload` first\n"
        )
        await until(is_disabled)
        told = await request_daemon(home, "POST", "/v1/destinations/hr/enable")
        assert told["unfollowed"] == ["destinations.hr.url", "destinations.hr.secret"]
        assert "run `notifier reload` first" in told["message"]
        await until(is_disabled)
        receiver.status = 200
        assert (await home.call("reload")).code == 0

        async def is_delivered() -> bool:
            (document,) = (await home.call("status", "--json")).documents
            return bool(document["destinations"]["hr"]["delivered"] == 1)

        await until(is_delivered)
        told = await request_daemon(home, "POST", "/v1/destinations/hr/enable")
        assert (told["unfollowed"], told["message"]) == ([], "")
        assert (await home.call("enable", "hr")).lines == ["hr is enabled"]


async def test_sample_with_an_older_configuration_reports_it(home: "Home", api: "Api", receiver: "Receiver") -> None:
    home.configure(api.url, hr="http://127.0.0.1:9/hook")
    async with home.daemon():
        home.configure(api.url, hr=receiver.url, more=f'secret = "{SECRET}"')
        said = await home.call("test", "hr")
        assert said.code == 0
        assert said.lines[-1] == (
            "But the daemon still uses an older configuration of hr: `url`, `secret` have changed since; run"
            " `notifier reload` first"
        )
        assert SECRET not in said.out + said.err
        (document,) = (await home.call("test", "hr", "--json")).documents
        assert document["unfollowed"] == ["destinations.hr.url", "destinations.hr.secret"]
        # The HTTP interface sends the sample to the address that the daemon has loaded.
        told = await request_daemon(home, "POST", "/v1/destinations/hr/test")
        assert (told["result"], told["unfollowed"]) == ("connect_failed", document["unfollowed"])
        assert (await home.call("reload")).code == 0
        assert "older" not in (await home.call("test", "hr")).out
        assert (await request_daemon(home, "POST", "/v1/destinations/hr/test"))["message"] == ""


async def test_new_removed_and_invalid_destinations_are_reported_before_a_reload(
    home: "Home", api: "Api", receiver: "Receiver"
) -> None:
    home.configure(api.url, hr=receiver.url)
    async with home.daemon():
        home.configure(api.url, hr=receiver.url, more=f'[destinations.late]\ntype = "http"\nurl = "{receiver.url}"\n')
        said = await home.call("test", "late")
        assert said.code == 0
        assert said.lines[-1] == "But the daemon does not know late yet, which is new: run `notifier reload` first"
        assert (await request_daemon(home, "GET", "/v1/destinations/late"))["state"] is None
        assert (await request_daemon(home, "GET", "/v1/destinations/nobody"))["error"]["reason"] == "unknown_name"
        home.config.write_text(home.config.read_text().replace("destinations.hr", "destinations.people"))
        told = await request_daemon(home, "POST", "/v1/destinations/hr/test")
        assert told["unfollowed"] == ["destinations.hr"]
        assert "the configuration no longer contains hr, but the daemon still uses it" in told["message"]
        home.config.write_text(home.config.read_text() + "[nonsense]\n")
        told = await request_daemon(home, "POST", "/v1/destinations/hr/enable")
        assert "`notifier check`" in told["message"]
        said = await home.call("enable", "hr")
        assert said.code == 0
        assert said.lines[-1].startswith("But the configuration is wrong now (`notifier check`)")


async def test_sample_reports_a_disabled_destination(home: "Home", api: "Api", receiver: "Receiver") -> None:
    home.configure(api.url, hr=receiver.url)
    await home.remember("Jorge Miller")
    assert (await home.call("disable", "hr")).code == 0
    expected = (
        "hr is disabled (reason: operator): only tests are sent to it, and its events are kept until"
        " `notifier enable hr`"
    )
    said = await home.call("test", "hr")
    assert (said.code, said.lines[-1]) == (0, f"But {expected}")
    async with home.daemon():
        said = await home.call("test", "hr")
        assert (said.code, said.lines[-1]) == (0, f"But {expected}")
        told = await request_daemon(home, "POST", "/v1/destinations/hr/test")
        assert (told["result"], told["state"], told["message"]) == ("delivered", "disabled", expected)
        assert (await home.call("enable", "hr")).code == 0
        assert "disabled" not in (await home.call("test", "hr")).out
