"""Finds the proxy of each source and destination, for `notifier check` and the log."""

from collections.abc import Iterator
from typing import Final

from notifier.config.brokers import AwsSettings, BrokerSettings
from notifier.config.destination_types import Destination
from notifier.config.message_destinations import AppriseSettings
from notifier.config.settings import Settings
from notifier.config.source_settings import SourceSettings
from notifier.http.proxy import Proxy, proxy_of

_ANY_SERVICE: Final = "https://apprise.invalid"
"""A placeholder for the web address of an apprise service, to find the proxy of its requests.

Only apprise knows the real address, which it derives from the configured URL. The URL itself cannot be used, because
`NO_PROXY` is compared with the real address.
"""


def of_source(source: SourceSettings) -> Proxy | None:
    """Return the proxy of a source's requests."""
    return proxy_of(source.base_url, source.proxy.get_secret_value())


def of_destination(destination: Destination) -> Proxy | None:
    """Return the proxy of a destination's requests. Of the message brokers, only AWS can have a proxy."""
    if isinstance(destination, AwsSettings):
        return proxy_of(destination.endpoint())
    if isinstance(destination, BrokerSettings):
        return None
    url = _ANY_SERVICE if isinstance(destination, AppriseSettings) else destination.url.get_secret_value()
    return proxy_of(url, destination.proxy.get_secret_value())


def describe_proxies(settings: Settings) -> Iterator[str]:
    """Yield a text for each proxy in use: its address, where the address is set, and what uses the proxy."""
    users: dict[Proxy, list[str]] = {}
    for name, source in settings.sources.items():
        if (proxy := of_source(source)) is not None:
            users.setdefault(proxy, []).append(name)
    for name, destination in settings.destinations.items():
        if (proxy := of_destination(destination)) is not None:
            users.setdefault(proxy, []).append(name)
    if (proxy := proxy_of(settings.alerts.heartbeat_url.get_secret_value())) is not None:
        users.setdefault(proxy, []).append("heartbeat")
    for proxy, names in users.items():
        yield f"{proxy} (from {proxy.origin}) for {', '.join(names)}"
