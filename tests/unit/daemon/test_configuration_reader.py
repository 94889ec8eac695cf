"""Reading the configuration in its own thread."""

import threading

import pytest

from notifier.config import Settings
from notifier.daemon.configuration import ReloadHooks
from notifier.daemon.configuration_reader import MAX_HANGING_READS, ConfigurationReader, ConfigurationReadError


async def test_reads_that_get_no_thread_do_not_count_as_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.model_validate({"sources": {"acme": {"token": "secret"}}, "destinations": {}})
    reader = ConfigurationReader(ReloadHooks(lambda: settings))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        for _ in range(MAX_HANGING_READS):
            with pytest.raises(ConfigurationReadError, match="can't start new thread"):
                await reader.read()
    assert await reader.read() is settings
