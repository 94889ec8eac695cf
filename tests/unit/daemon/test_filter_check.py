"""Warnings about ids and patterns in filters that match nothing in any of their sources."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from notifier.config import Settings
from notifier.daemon.configuration import RunningConfiguration
from notifier.daemon.filter_check import FilterChecker, id_filters
from notifier.events import Change, Completion, DetectedBy, EventType
from notifier.store.file.store import FileStore
from notifier.store.tables import known_ids, names
from notifier.store.tables import sources as source_table
from notifier.store.tables.names import NameList, PersonName
from notifier.store.tables.records import Findings, write
from tests.support.new_state_file import new_state_file

MS = 1_795_280_400_123


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    store = FileStore(new_state_file(tmp_path / "notifier.db"))
    await store.open()
    for source in ("acme", "beta"):
        await store.run(source_table.read_or_create, source)
    yield store
    await store.close()


def settings(destination: dict[str, Any], **source: Any) -> Settings:
    return Settings.model_validate(
        {
            "sources": {"acme": {"token": "t", **source}, "beta": {"token": "t"}},
            "destinations": {"hr": {"type": "http", "url": "https://example.com/", **destination}},
        }
    )


async def store_names(
    store: FileStore, source: str, *, people: tuple[str, ...] = (), trainings: tuple[str, ...] = ()
) -> None:
    await store.run(names.store_people, source, [PersonName(id_, id_, None) for id_ in people])
    await store.run(names.store_trainings, source, [(id_, id_) for id_ in trainings])
    for listed in NameList:
        await store.run(names.store_fetch, source, listed, MS, "ok")


async def store_record(store: FileStore, key: str, user_id: str) -> None:
    completion = Completion(key, "7", user_id, "2026-01-01", None, MS, None, None, "", False, b"{}")
    change = Change(EventType.CREATED, completion, 1, DetectedBy.HEAD, "entered_since_first_meeting")
    await store.run(write, Findings("acme", "acme", changes=[change]), [], MS)


def warned_ids(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(vars(it)["key"], vars(it)["id"]) for it in caplog.records if it.levelno == logging.WARNING]


async def test_filter_check_warns_once_of_each_unknown_id(store: FileStore, caplog: pytest.LogCaptureFixture) -> None:
    configured = settings({"training_ids": ["7", "8"], "user_ids": ["u", "v", "w"]}, user_id="x", training_id="8")
    await store_names(store, "acme", people=("u",), trainings=("7",))
    await store_names(store, "beta", people=("v",))
    check = FilterChecker(store, RunningConfiguration(configured))
    for _ in range(2):
        await check.check()
    assert warned_ids(caplog) == [
        ("sources.acme.training_id", "8"),
        ("sources.acme.user_id", "x"),
        ("destinations.hr.training_ids", "8"),
        ("destinations.hr.user_ids", "w"),
    ]


async def test_filter_check_waits_until_the_names_of_every_source_are_fetched(
    store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    check = FilterChecker(store, RunningConfiguration(settings({"user_ids": ["u"]})))
    await check.check()
    await store_names(store, "acme")
    await store.run(names.store_fetch, "beta", NameList.PEOPLE, MS, "token_permission")
    await check.check()
    assert warned_ids(caplog) == []
    await store_names(store, "beta")
    await check.check()
    assert warned_ids(caplog) == [("destinations.hr.user_ids", "u")]


async def test_filter_check_looks_only_at_the_sources_of_the_destination(
    store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store_names(store, "acme")
    await store_names(store, "beta", people=("u",))
    await FilterChecker(store, RunningConfiguration(settings({"user_ids": ["u"], "sources": ["acme"]}))).check()
    assert warned_ids(caplog) == [("destinations.hr.user_ids", "u")]


async def test_filter_check_accepts_the_person_of_any_stored_record(
    store: FileStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_ids, "EXAMINED_AT_ONCE", 2)
    for number in range(5):
        await store_record(store, str(number), f"u{number}")
    await store_names(store, "acme")
    await store_names(store, "beta")
    await FilterChecker(store, RunningConfiguration(settings({"user_ids": ["u0", "u4", "u5"]}))).check()
    assert warned_ids(caplog) == [("destinations.hr.user_ids", "u5")]


async def test_filter_check_checks_a_changed_filter_again(store: FileStore, caplog: pytest.LogCaptureFixture) -> None:
    await store_names(store, "acme")
    await store_names(store, "beta")
    configuration = RunningConfiguration(settings({"user_ids": ["u"]}))
    check = FilterChecker(store, configuration)
    await check.check()
    configuration.settings = settings({"user_ids": ["v"]})
    await check.check()
    assert warned_ids(caplog) == [("destinations.hr.user_ids", "u"), ("destinations.hr.user_ids", "v")]


def test_id_filters_omits_filters_whose_sources_include_one_without_names() -> None:
    filters = {"training_ids": ["7"], "user_ids": ["u"]}
    assert len([*id_filters(settings(filters, user_id="u"))]) == 3
    assert [*id_filters(settings(filters, user_id="u", names=False))] == []
    (one, _) = id_filters(settings({**filters, "sources": ["beta"]}, names=False))
    assert (one.key, one.sources) == ("destinations.hr.training_ids", ("beta",))


async def test_filter_check_warns_once_of_each_pattern_that_matches_nothing(
    store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    configured = settings(
        {
            "trainings": ["ladder*", "crane*"],
            "people": ["e1", "E2", "5e580f0cb780600088bd2c11"],
            "job_titles": ["Rigger", "!Driver"],
            "field_offices": ["f1", "f2"],
            "sources": ["acme"],
        },
        person_fields=["employee_number", "job_title", "field_office_ids"],
    )
    check = FilterChecker(store, RunningConfiguration(configured))
    await store_names(store, "acme")
    facts: dict[str, Any] = {"employee_number": "E1", "job_title_id": "j1", "field_office_ids": ["f1"]}
    await store.run(names.store_people, "acme", [PersonName("u", "Ann", "E1", facts)])
    await store.run(names.store_trainings, "acme", [("7", "Ladder Safety")])
    await store.run(names.store_job_titles, "acme", [("j1", "rigger")])
    await store.run(names.store_trainings, "beta", [("8", "Crane Operation")])
    for _ in range(2):
        await check.check()
    found = [(vars(it)["key"], vars(it)["pattern"]) for it in caplog.records if it.levelno == logging.WARNING]
    assert found == [
        ("destinations.hr.trainings", "crane*"),
        ("destinations.hr.people", "E2"),
        ("destinations.hr.people", "5e580f0cb780600088bd2c11"),
        ("destinations.hr.job_titles", "!Driver"),
        ("destinations.hr.field_offices", "f2"),
    ]


async def test_filter_check_checks_patterns_only_after_their_list_is_fetched(
    store: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    configured = settings(
        {"job_titles": ["Rigger"], "sources": ["acme"]}, person_fields=["employee_number", "job_title"]
    )
    check = FilterChecker(store, RunningConfiguration(configured))
    await store.run(names.store_fetch, "acme", NameList.PEOPLE, MS, "ok")
    await check.check()
    assert not caplog.records
    await store.run(names.store_fetch, "acme", NameList.JOB_TITLES, MS, "ok")
    await check.check()
    assert len(caplog.records) == 1
