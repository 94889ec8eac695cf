"""What the daemon reports to a service manager: the first round, a summary, and credentials that it cannot reload."""

import time
from typing import Any

from notifier.config import ConfigError, Settings
from notifier.config.errors import Problem
from notifier.daemon.configuration import ReloadHooks
from tests.support.changing_configuration import Written, dumped
from tests.support.daemon import World, ready
from tests.support.waiting import DEADLINE, until


async def test_first_round_of_a_source_that_hangs_ends_after_its_timeout(world: World, run: Any) -> None:
    world.hangs = True
    tables = dumped(world.settings())
    tables["sources"]["acme-1"]["timeout"] = "300ms"
    begun = time.monotonic()
    daemon = await run(Settings.model_validate(tables))
    assert daemon.operations.sources_in_first_round() == ["acme-1"]
    await until(lambda: daemon.operations.sources_in_first_round() == [])
    assert time.monotonic() - begun >= 0.3


async def test_summary_names_a_failing_destination_and_its_waiting_events(world: World, run: Any) -> None:
    world.receiver_answers = 500
    daemon = await run()
    await ready(daemon)
    assert await daemon.operations.summary() == "1 source ok, 1 destination ok"
    world.complete()
    end = time.monotonic() + DEADLINE
    while await daemon.operations.summary() != "1 source ok, 1 destination retrying (hr: 1 waiting)":
        assert time.monotonic() < end, await daemon.operations.summary()


async def test_reload_names_credentials_that_it_cannot_read_again(world: World, run: Any) -> None:
    written = Written(world.settings())
    daemon = await run(written.settings, None, ReloadHooks(written.read, credential_keys=("sources.acme-1.token",)))
    done = await daemon.reload()
    written.wrong = True
    refused = await daemon.reload()
    assert done.body["handed_over"] == ("sources.acme-1.token",)
    assert refused.body["reason"] == "wrong_configuration"
    assert "a new or changed credential is not seen" in refused.body["message"]


async def test_reload_error_without_systemd_does_not_mention_it(run: Any) -> None:
    def read() -> Settings:
        raise ConfigError([Problem("sources", "are missing")])

    daemon = await run(None, None, ReloadHooks(read))
    assert "systemd" not in (await daemon.reload()).body["message"]
