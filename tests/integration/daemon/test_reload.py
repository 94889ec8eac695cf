"""A running daemon follows a changed configuration and loses and doubles no event; an invalid one changes nothing."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alerts import source_rules
from notifier.alerts.conditions import Condition, ConditionName
from notifier.config import Settings
from notifier.daemon.configuration import Differences, ReloadHooks, UnloadedChanges, keys_pending_restart
from notifier.daemon.daemon import Daemon
from notifier.store.errors import StoreError, StoreReason
from notifier.web.daemon_api import UnknownNameError
from tests.support.changing_configuration import Written, dumped
from tests.support.daemon import World, ready, status_when, until_swept
from tests.support.waiting import until

things = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2))


@given(things, things)
def test_differences_put_each_name_into_the_right_group(before: dict[str, int], after: dict[str, int]) -> None:
    differences = Differences.between(before, after)
    told = [*differences.added, *differences.changed, *differences.removed]
    same = [name for name in before if before[name] == after.get(name)]
    assert sorted([*told, *same]) == sorted({*before, *after})
    assert set(differences.added) == after.keys() - before.keys()
    assert set(differences.removed) == before.keys() - after.keys()


@pytest.fixture
def written(world: World) -> Written:
    return Written(world.settings())


@pytest.fixture
async def daemon(written: Written, run: Any) -> Daemon:
    started: Daemon = await run(written.settings, None, ReloadHooks(written.read, written.followed.append))
    await until_swept(started)
    return started


def subjects(world: World) -> Counter[str]:
    return Counter(event["subject"] for event in world.received if event["type"] == "completion.created")


async def changes(daemon: Daemon, what: str) -> Any:
    body: Any = (await daemon.reload()).body
    return body[what]


async def test_reload_without_changes_changes_nothing(daemon: Daemon, world: World, written: Written) -> None:
    answer = await daemon.reload()
    nothing = {"added": (), "changed": (), "removed": ()}
    assert answer.ok
    assert answer.body == {
        "unmatched": {},
        "sources": nothing,
        "destinations": nothing,
        "left_to_restart": (),
        "handed_over": (),
        "message": "",
    }
    assert written.followed == [written.settings]
    key = world.complete()
    await until(lambda: subjects(world) == {key: 1})


async def test_reload_of_an_invalid_configuration_is_reported_and_changes_nothing(
    daemon: Daemon, world: World, written: Written, caplog: pytest.LogCaptureFixture
) -> None:
    written.wrong = True
    answer = await daemon.reload()
    assert not answer.ok
    assert "nothing was changed" in answer.body["message"]
    assert "sources.acme-1.token: is missing" in answer.body["message"]
    assert "the configuration could not be read again" in caplog.text
    assert written.followed == []
    key = world.complete()
    await until(lambda: subjects(world) == {key: 1})


async def test_reload_that_the_store_interrupted_is_taken_back_by_a_reload_of_the_earlier_configuration(
    daemon: Daemon, world: World, written: Written
) -> None:
    earlier = written.settings
    hr = dumped(earlier)["destinations"]["hr"]
    written.change(destinations={"hr": hr | {"timeout": "9s"}, "audit": hr})
    await daemon._store.run(lambda db: db.execute("PRAGMA query_only = 1"))
    answer = await daemon.reload()
    assert "applied only in part" in answer.body["message"]
    await daemon._store.run(lambda db: db.execute("PRAGMA query_only = 0"))
    written.settings = earlier
    assert await changes(daemon, "destinations") == {"added": (), "changed": ("hr",), "removed": ("audit",)}
    key = world.complete()
    await until(lambda: subjects(world) == {key: 1})
    assert await changes(daemon, "destinations") == {"added": (), "changed": (), "removed": ()}


async def test_reload_that_is_repeated_takes_no_event_from_a_destination_that_the_failed_one_has_added(
    daemon: Daemon, world: World, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise StoreError(StoreReason.DISK_FULL, "no space")

    apply, keys = daemon._dispatcher.apply_settings, []

    async def complete_and_apply(*arguments: Any, **options: Any) -> None:
        keys.append(world.complete())
        await until(lambda: subjects(world)[keys[0]] > 0)
        await apply(*arguments, **options)

    hr = dumped(written.settings)["destinations"]["hr"]
    written.change(destinations={"hr": hr, "audit": hr})
    with monkeypatch.context() as store_fails:
        store_fails.setattr(daemon._sources, "apply_settings", fail)
        assert "applied only in part" in (await daemon.reload()).body["message"]
    monkeypatch.setattr(daemon._dispatcher, "apply_settings", complete_and_apply)
    assert (await daemon.reload()).ok
    await until(lambda: subjects(world) == {keys[0]: 2})


async def test_reload_watches_an_added_source_and_not_a_removed_one(
    daemon: Daemon, world: World, written: Written
) -> None:
    acme = dumped(written.settings)["sources"]["acme-1"]
    written.change(sources={"globex": acme})
    assert await changes(daemon, "sources") == {"added": ("globex",), "changed": (), "removed": ("acme-1",)}
    await ready(daemon)
    assert set((await daemon.operations.status())["sources"]) == {"globex"}
    await until_swept(daemon)
    key = world.complete()
    await until(lambda: bool(world.received))
    assert {event["source"] for event in world.received} == {"/sources/globex"}
    assert subjects(world) == {key: 1}


async def test_reload_of_a_changed_source_resumes_where_it_was(daemon: Daemon, world: World, written: Written) -> None:
    acme = dumped(written.settings)["sources"]["acme-1"]
    world.hangs = True
    asked = world.asked
    await until(lambda: world.asked > asked)
    key = world.complete()
    by_hand = asyncio.create_task(daemon.operations.poll("acme-1"))
    await asyncio.sleep(0)
    written.change(sources={"acme-1": acme | {"page_size": 3}})
    # The request in progress is never answered, but those of the changed source are.
    world.hangs = False
    async with asyncio.timeout(5):
        changed = await changes(daemon, "sources")
        interrupted = await by_hand
    assert changed["changed"] == ("acme-1",)
    assert not interrupted.ok
    assert "poll again" in interrupted.body["message"]
    await until(lambda: subjects(world) == {key: 1})
    assert (await daemon.operations.status())["sources"]["acme-1"]["records"] == 21


async def test_destination_added_by_a_reload_gets_only_later_events(
    daemon: Daemon, world: World, written: Written
) -> None:
    first = world.complete()
    await until(lambda: subjects(world) == {first: 1})
    hr = dumped(written.settings)["destinations"]["hr"]
    written.change(destinations={"hr": hr, "audit": hr})
    assert (await changes(daemon, "destinations"))["added"] == ("audit",)
    second = world.complete()
    await until(lambda: subjects(world) == {first: 1, second: 2})


async def test_status_works_while_a_reload_adds_a_destination(
    daemon: Daemon, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    hr = dumped(written.settings)["destinations"]["hr"]
    read = daemon.operations._reader.run

    async def reload_after_reading(*arguments: Any) -> Any:
        found = await read(*arguments)
        await daemon.reload()
        return found

    written.change(destinations={"hr": hr, "audit": hr})
    with monkeypatch.context() as patch:
        patch.setattr(daemon.operations._reader, "run", reload_after_reading)
        assert [*(await daemon.operations.status())["destinations"]] == ["hr"]
    assert [*(await daemon.operations.status())["destinations"]] == ["hr", "audit"]


async def test_action_on_a_destination_removed_meanwhile_raises_unknown_name_error(
    daemon: Daemon, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    hr = dumped(written.settings)["destinations"]["hr"]
    written.change(destinations={"audit": hr})
    lock = daemon._dispatcher._settings_lock
    async with lock:
        reload = asyncio.create_task(daemon.reload())
        await until(lambda: bool(lock._waiters))
        disabling = asyncio.create_task(daemon.deliveries.set_enabled("hr", enabled=False))
        await asyncio.sleep(0)
    await reload
    with pytest.raises(UnknownNameError):
        await disabling

    async def reload_first(_name: str) -> UnloadedChanges:
        await daemon.reload()
        return UnloadedChanges()

    written.change(destinations={"hr": hr})
    monkeypatch.setattr(daemon.deliveries, "_unloaded_changes", reload_first)
    with pytest.raises(UnknownNameError):
        await daemon.deliveries.test("audit")


async def test_reload_reads_templates_again_without_configuration_changes(
    daemon: Daemon, world: World, written: Written
) -> None:
    template = world.folder / "completed.j2"
    template.write_text("{{ key }} is old news")
    written.change(
        destinations={"channel": {"type": "teams", "url": world.receiver, "rate": 100, "templates": str(world.folder)}}
    )
    await daemon.reload()
    template.write_text("{{ key }} is news")
    first = world.complete()
    await until(lambda: f"{first} is old news" in str(world.received))
    assert (await changes(daemon, "destinations"))["changed"] == ()
    second = world.complete()
    await until(lambda: f"{second} is news" in str(world.received))


async def test_destination_that_returns_gets_its_pending_events_and_no_missed_ones(
    daemon: Daemon, world: World, written: Written
) -> None:
    world.receiver_answers = 503
    key = world.complete()
    await status_when(daemon, "hr", "pending", 1)
    hr = dumped(written.settings)["destinations"]["hr"]
    written.change(destinations={})
    assert (await changes(daemon, "destinations"))["removed"] == ("hr",)
    assert (await daemon.operations.status())["destinations"] == {}
    world.received.clear()
    world.receiver_answers = 200
    unheard = world.complete()
    await wait_for_records(daemon, 22)
    written.change(destinations={"hr": hr})
    await daemon.reload()
    await until(lambda: subjects(world) == {key: 1})
    assert unheard not in subjects(world)


async def wait_for_records(daemon: Daemon, records: int) -> None:
    while (await daemon.operations.status())["sources"]["acme-1"]["records"] < records:
        await asyncio.sleep(0.01)


async def test_reloads_while_records_arrive_lose_and_double_no_event(
    daemon: Daemon, world: World, written: Written
) -> None:
    hr = dumped(written.settings)["destinations"]["hr"]
    acme = dumped(written.settings)["sources"]["acme-1"]
    keys = []
    for number in range(12):
        keys += [world.complete() for _ in range(3)]
        written.change(
            destinations={"hr": hr | {"timeout": f"{number + 5}s"}},
            sources={"acme-1": acme | {"page_size": number + 1}},
        )
        assert (await daemon.reload()).ok
    await until(lambda: len(subjects(world)) == len(keys))
    ids = Counter(event["id"] for event in world.received)
    assert set(subjects(world)) == set(keys)
    # An attempt that is cut off may have arrived; it is repeated with the same id.
    assert len(ids) == len(keys)


async def test_reload_applies_a_new_alert_destination(
    daemon: Daemon, world: World, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Condition(ConditionName.GAP, "sources/acme-1", "something may have been missed")
    monkeypatch.setattr(source_rules, "conditions", lambda *_: (wrong,))
    written.change(alerts={"destination": "hr"})
    assert (await daemon.reload()).ok
    await until(lambda: [event["type"] for event in world.received] == ["notifier.alert"])


def test_keys_pending_restart_lists_changes_of_store_and_http(written: Written) -> None:
    before = written.settings
    assert keys_pending_restart(before, before) == ()
    written.change(http={"listen": "127.0.0.1:8788"}, store={"path": "/elsewhere.db"})
    assert keys_pending_restart(before, written.settings) == ("store.path", "http")


class HangingConfiguration:
    """A configuration in a file system that does not answer while `answers` is not set."""

    def __init__(self, written: Written) -> None:
        self.written = written
        self.answers = threading.Event()
        self.asked = 0

    def read(self) -> Settings:
        self.asked += 1
        self.answers.wait()
        return self.written.read()


@pytest.fixture
def hanging_configuration(written: Written, monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingConfiguration]:
    monkeypatch.setattr("notifier.daemon.configuration_reader.READ_SECONDS", 0.3)
    found = HangingConfiguration(written)
    yield found
    found.answers.set()


async def test_reload_that_hangs_does_not_delay_alerts_or_a_later_reload(
    written: Written, hanging_configuration: HangingConfiguration, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 0.05)
    daemon: Daemon = await run(written.settings, None, ReloadHooks(hanging_configuration.read))
    reload = asyncio.create_task(daemon.reload())
    await until(lambda: hanging_configuration.asked == 1)
    before = daemon.evaluation
    await until(lambda: daemon.evaluation != before)
    assert not reload.done()
    answer: Any = await reload
    assert not answer.ok
    assert "could not be read, and nothing was changed: it took longer than 0.3 seconds" in answer.body["message"]
    assert daemon.evaluation is not None
    assert any("configuration_broken" in str(it.key) for it in daemon.evaluation.firing)
    hanging_configuration.answers.set()
    assert (await daemon.reload()).ok


async def test_number_of_hanging_configuration_reads_is_limited(
    written: Written, hanging_configuration: HangingConfiguration, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.daemon.configuration_reader.READ_SECONDS", 0.01)
    monkeypatch.setattr("notifier.daemon.configuration_reader.MAX_HANGING_READS", 2)
    daemon: Daemon = await run(written.settings, None, ReloadHooks(hanging_configuration.read))
    answers: list[Any] = [await daemon.reload() for _ in range(4)]
    assert ["2 earlier readings" in answer.body["message"] for answer in answers] == [False, False, True, True]
    assert hanging_configuration.asked == 2
    monkeypatch.setattr("notifier.daemon.configuration_reader.READ_SECONDS", 5)
    hanging_configuration.answers.set()
    await until(lambda: not any(thread.name == "reload" for thread in threading.enumerate()))
    assert (await daemon.reload()).ok
