"""Reload of the configuration while the process is in standby."""

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


async def test_standby_reload_applies_the_new_settings(configuration: RunningConfiguration, written: Written) -> None:
    written.change(store=STORE, log={"level": "debug"})
    assert (await reload(configuration))["left_to_restart"] == ()
    assert configuration.settings.log.level == "debug"
    assert written.followed == [configuration.settings]


async def test_standby_reload_keeps_the_store_address(configuration: RunningConfiguration, written: Written) -> None:
    opened = configuration.settings.store
    written.change(store={"path": "/elsewhere.db", "retention": "30d"})
    result = await reload(configuration)
    assert result["left_to_restart"] == ("store.path", "store.url", "store.name")
    kept = configuration.settings.store
    assert (kept.path, kept.url, kept.name) == (opened.path, opened.url, opened.name)
    assert kept.retention == 30 * 86_400


async def test_standby_reload_of_a_wrong_file_changes_nothing_and_keeps_the_problem(
    configuration: RunningConfiguration, written: Written, caplog: pytest.LogCaptureFixture
) -> None:
    before = configuration.settings
    written.wrong = True
    result = await reload(configuration)
    assert "nothing was changed" in result["message"]
    assert configuration.reload_problem == result["message"]
    assert "the configuration could not be read again" in caplog.text
    assert (configuration.settings, written.followed) == (before, [])
    written.wrong = False
    await reload(configuration)
    assert configuration.reload_problem is None
