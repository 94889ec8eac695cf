"""A configuration that is read again while the process stands by."""

from typing import Any

import pytest

from notifier.config import Settings
from notifier.daemon.configuration import ReloadHooks, RunningConfiguration
from notifier.daemon.standby_reload import StandbyReloader
from notifier.daemon.systemd.notify import SystemdNotifier
from tests.support.changing_configuration import Written

STORE = {"url": "postgresql://u@db1/d", "name": "acme"}


@pytest.fixture
def written() -> Written:
    return Written(
        Settings.model_validate({"store": STORE, "sources": {"acme": {"token": "secret"}}, "destinations": {}})
    )


@pytest.fixture
def configuration(written: Written) -> RunningConfiguration:
    return RunningConfiguration(written.settings, ReloadHooks(written.read, written.followed.append))


async def reload(configuration: RunningConfiguration) -> dict[str, Any]:
    answer = await StandbyReloader(configuration, SystemdNotifier()).reload()
    assert answer.ok is (configuration.reload_problem is None)
    return dict(answer.body)


async def test_it_is_what_the_process_takes_over_with(configuration: RunningConfiguration, written: Written) -> None:
    written.change(store=STORE, log={"level": "debug"})
    assert (await reload(configuration))["left_to_restart"] == ()
    assert configuration.settings.log.level == "debug"
    assert written.followed == [configuration.settings]


async def test_the_store_stays_the_one_of_the_start(configuration: RunningConfiguration, written: Written) -> None:
    opened = configuration.settings.store
    written.change(store={"path": "/elsewhere.db", "retention": "30d"})
    said = await reload(configuration)
    assert said["left_to_restart"] == ("store.path", "store.url", "store.name")
    kept = configuration.settings.store
    assert (kept.path, kept.url, kept.name) == (opened.path, opened.url, opened.name)
    assert kept.retention == 30 * 86_400


async def test_a_wrong_one_changes_nothing_and_is_remembered(
    configuration: RunningConfiguration, written: Written, caplog: pytest.LogCaptureFixture
) -> None:
    before = configuration.settings
    written.wrong = True
    said = await reload(configuration)
    assert "nothing was changed" in said["message"]
    assert configuration.reload_problem == said["message"]
    assert "the configuration could not be read again" in caplog.text
    assert (configuration.settings, written.followed) == (before, [])
    written.wrong = False
    await reload(configuration)
    assert configuration.reload_problem is None
