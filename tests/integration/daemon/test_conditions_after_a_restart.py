"""Conditions that a new process cannot know at once: its start does not resolve them and sends no second alert."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from notifier.config import Settings
from notifier.daemon.daemon import Daemon
from tests.support.clocks import SettableClock
from tests.support.new_state_file import new_state_file
from tests.support.notices import LONG, NoticeReceiver, settings_with_notices, wait_for_evaluations
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.daemon import World

Know = Callable[[Daemon], bool]


def wrong_clock(clock: SettableClock, _settings: dict[str, Any], _stack: ExitStack) -> Know:
    clock.set_wall_clock(-1800)
    return lambda daemon: daemon._peer_clocks.peer_count > 0


def port_in_use(_clock: SettableClock, settings: dict[str, Any], stack: ExitStack) -> Know:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    settings["http"]["listen"] = f"127.0.0.1:{listener.getsockname()[1]}"
    return lambda daemon: daemon.interface_problem is not None


def dead_heartbeat(_clock: SettableClock, settings: dict[str, Any], _stack: ExitStack) -> Know:
    settings["alerts"]["heartbeat_url"] = "http://127.0.0.1:9/"
    return lambda daemon: daemon._heartbeat is not None and daemon._heartbeat.failing_seconds > LONG


def essentials_in_the_way(_clock: SettableClock, settings: dict[str, Any], _stack: ExitStack) -> Know:
    path = Path(settings["store"]["path"])
    path.with_name(f"{path.name}.essentials.new").mkdir()
    return lambda daemon: daemon._housekeeping.snapshot_failure() is not None


@pytest.mark.parametrize(
    ("trouble", "condition"),
    [
        (wrong_clock, "clock_off"),
        (port_in_use, "interface_down"),
        (dead_heartbeat, "heartbeat_failing"),
        (essentials_in_the_way, "essentials_not_kept"),
    ],
)
async def test_restart_does_not_resolve_or_repeat_the_alert(
    world: "World",
    notice_receiver: NoticeReceiver,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[SettableClock, dict[str, Any], ExitStack], Know],
    condition: str,
) -> None:
    monkeypatch.setattr("notifier.alerts.daemon_rules.HEARTBEAT_FAILING_SECONDS", LONG)
    monkeypatch.setattr("notifier.daemon.file_upkeep.ESSENTIALS_GRACE_SECONDS", LONG)
    clock, document = SettableClock(), settings_with_notices(world, notice_receiver).model_dump(mode="python")
    document["sources"]["acme-1"]["token"] = "sandbox"
    document["destinations"]["hr"]["url"] = world.receiver
    with ExitStack() as stack:
        is_known = trouble(clock, document, stack)
        settings = Settings.model_validate(document)
        new_state_file(settings.store.path)

        def is_reported(daemon: Daemon) -> bool:
            return len(notice_receiver.notices) > 0 and is_known(daemon)

        for _ in range(2):
            daemon = Daemon(settings, clock)
            await daemon.start()
            try:
                await until(partial(is_reported, daemon))
                await wait_for_evaluations(notice_receiver)
            finally:
                await daemon.stop()
    assert [(it["condition"], it["state"]) for it in notice_receiver.notices] == [(condition, "firing")]
