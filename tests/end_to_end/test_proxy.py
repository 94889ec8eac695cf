"""The daemon uses a proxy, which refuses requests for a while."""

import asyncio

from tests.support.command_line import Api, Home, Receiver, api, deliveries, home, receiver, until
from tests.support.proxies import AUTHORIZATION, PASSWORD, ForwardProxy, forward_proxy

__all__ = ["api", "forward_proxy", "home", "receiver"]


async def test_refusing_proxy_is_logged_and_no_event_is_lost_after_it_recovers(
    home: Home, api: Api, receiver: Receiver, forward_proxy: ForwardProxy
) -> None:
    forward_proxy.wants = AUTHORIZATION
    proxy = f'proxy = "{forward_proxy.url_with_credentials}"\n'
    home.configure(api.url, hr=receiver.url, more=f'{proxy}retry_first = "200ms"\nretry_max = "400ms"\n')
    home.config.write_text(home.config.read_text().replace("[sources.acme]\n", f"[sources.acme]\n{proxy}"))
    user, training = api.account.users[0]["id"], api.account.trainings[0].ids

    async def state(of: str, name: str) -> tuple[str, str]:
        (document,) = (await home.call("status", "--json")).documents
        error = document[of][name]["last_error"]
        return document[of][name]["state"], "" if error is None else error["reason"]

    async def is_refused() -> bool:
        return await state("sources", "acme") == ("failing", "proxy_refused")

    async def is_delivered() -> bool:
        return len(receiver.bodies) == 2 and [one["state"] for one in await deliveries(home)] == ["delivered"] * 2

    async with home.daemon() as process:
        api.account.add(user=user, training=training)
        await until(lambda: asyncio.sleep(0, len(receiver.bodies) == 1))
        forward_proxy.wants = "other credentials"
        await until(is_refused)
        api.account.add(user=user, training=training)
        forward_proxy.wants = AUTHORIZATION
        await until(is_delivered)
        said = await home.end(process)
    assert {head.split(" ")[0] for head in forward_proxy.heads} == {"POST"}
    assert "a proxy is used" in said
    assert f"proxy {forward_proxy.address} refused: 407 Proxy Authentication Required" in said
    assert PASSWORD not in said
