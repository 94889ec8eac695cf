"""Fixtures: a machine with a real systemd, a simulated account, and a receiver."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.support.program import SECRET, Receiver, receiving, served
from tests.support.systemd_machine import Machine, Service, missing_requirement


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    skip = missing_requirement()
    if skip is not None:
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    booted = Machine(tmp_path_factory.mktemp("machine") / "log")
    yield booted
    booted.halt()


class ServiceEnvironment:
    """A simulated account whose API can hang, a receiver, and the services that use both."""

    def __init__(self, machine: Machine, receiver: Receiver) -> None:
        self.machine = machine
        self.receiver = receiver
        self.account = build_account(20)
        self.api_answers = asyncio.Event()
        self.api_answers.set()
        self.api = ""
        self._services: list[Service] = []
        self._growth = Growth(self.account, seed=5)

    @property
    def named_api(self) -> str:
        """The API's URL with a host name instead of an IP address."""
        return self.api.replace("127.0.0.1", "localhost")

    def middleware(self) -> object:
        @web.middleware
        async def hang(request: web.Request, handler: Handler) -> web.StreamResponse:
            await self.api_answers.wait()
            return await handler(request)

        return hang

    def configuration(self, name: str, *, source: str = "", more: str = "") -> str:
        """Return a configuration without the token, which comes from a credential file."""
        return f"""
[store]
path = "/var/lib/{name}/notifier.db"
[http]
listen = ""
[sources.acme]
base_url = "{self.api}"
poll_interval = "200ms"
requests_per_minute = 60000
{source}
[destinations.hr]
type = "http"
url = "{self.receiver.url}/hook"
secret = "{SECRET}"
retry_first = "200ms"
retry_max = "1s"
{more}
"""

    def configure(self, instance: str, *, source: str = "", more: str = "") -> None:
        """Write the configuration of an instance."""
        text = self.configuration(f"notifier-{instance}", source=source, more=more)
        self.machine.write(f"/etc/notifier/{instance}/config.toml", text)

    def install_instance(
        self, name: str, *, unit: str = "", source: str = "", more: str = "", checked: bool = False
    ) -> Service:
        """Install a service with `notifier install-service` and short time limits, but do not start it.

        Without `checked`, the service does not run `notifier check` before its start, which would take a second.
        """
        self.machine.do("/opt/notifier/bin/notifier", "install-service", "--instance", name)
        self.configure(name, source=source, more=more)
        self.machine.write(f"/etc/notifier/{name}/credentials/NOTIFIER_SOURCES__ACME__TOKEN", "sandbox\n", 0o600)
        service = Service(self.machine, f"notifier@{name}")
        unchecked = "" if checked else "ExecStartPre=\n"
        service.drop_in(f"[Service]\nRestartSec=200ms\nTimeoutAbortSec=1s\n{unchecked}{unit}")
        self._services.append(service)
        return service

    def add_completions(self, count: int) -> set[str]:
        """Add this number of completions to the account; return their keys."""
        return {str(record.id) for record in self._growth.grow(count)}

    async def stop_services(self) -> None:
        self.api_answers.set()
        for service in self._services:
            await service.systemctl("stop")


@pytest.fixture
async def environment(machine: Machine) -> AsyncIterator[ServiceEnvironment]:
    async with receiving() as receiver:
        this = ServiceEnvironment(machine, receiver)
        async with served(this.account, this.middleware()) as this.api:
            yield this
            await this.stop_services()
