"""What `notifier run` logs about its configuration."""

import logging
from typing import TYPE_CHECKING

import pytest

from notifier import log
from notifier.cli.commands import run
from notifier.cli.global_options import GlobalOptions
from notifier.config import load
from notifier.log import BURST, RepeatFilter

if TYPE_CHECKING:
    from tests.support.command_line import Home


def test_many_warnings_of_the_configuration_do_not_suppress_one_about_another_setting(
    home: "Home", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sources = "".join(f'[sources.customer-{number}]\ntoken = "todo"\n' for number in range(BURST))
    home.configure(more=f'{sources}[destinations.last]\ntype = "http"\nurl = "http://hr.example.com/hook"\n')
    monkeypatch.setattr(log, "setup", lambda *_, **__: None)
    caplog.handler.addFilter(RepeatFilter())
    with caplog.at_level(logging.WARNING, "notifier"):
        run._set_up_log(GlobalOptions(), load(home.config))
    assert any("destinations.last.url: is http://" in record.getMessage() for record in caplog.records)
