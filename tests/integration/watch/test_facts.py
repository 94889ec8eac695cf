"""Facts about people and trainings: what events contain, what is stored, and which destinations get an event."""

import json
from typing import TYPE_CHECKING, Any

from notifier.store.tables import names as name_table
from tests.support.table_rows import table_rows

if TYPE_CHECKING:
    from tests.support.watched_source import Station


def data_of(station: "Station") -> list[dict[str, Any]]:
    return [json.loads(event.data) for event in station.events]


def lists_asked(station: "Station") -> list[str]:
    return [asked.method for asked in station.upstream.asked if not asked.method.startswith("completedtrainings")]


async def everything(station: "Station") -> str:
    tables = [await station.store.run(table_rows, table) for table in ("people", "trainings", "job_titles", "events")]
    return json.dumps(tables)


async def test_default_person_fields_send_and_store_only_employee_numbers(
    either: "Station",
) -> None:
    await either.open(50, names=True)
    await either.watcher.poll()
    person, instructor, training = either.account.users[3], either.account.users[4], either.account.trainings[5]
    either.enter(user=person["id"], instructor=instructor["id"], training=training.ids, date_number=20200229)
    await either.watcher.poll()
    (data,) = data_of(either)
    completion = data["completion"]
    assert completion["user_employee_number"] == person["employeeNumber"]
    assert completion["instructor_employee_number"] == instructor["employeeNumber"]
    assert (completion["valid_until"], completion["valid_until_source"]) == ("2022-02-28", "renewal_rule")
    assert data["user"] == {"id": person["id"], "employee_number": person["employeeNumber"]}
    assert data["training"] == {
        "id": completion["training_id"],
        "schedule_type": "rolling",
        "renewal_months": training.renewal_months,
        "expiring_days": 30,
    }
    stored = await everything(either)
    assert person["employeeNumber"] in stored
    for secret in (person["jobTitle_id"], person["fieldOffice_id"][0], person["lineOfBusiness_id"][0], person["email"]):
        assert secret not in stored
    assert len(lists_asked(either)) == 2


async def test_event_occasion_is_first_or_renewal(either: "Station") -> None:
    await either.open(50, names=True)
    await either.round()
    user, training = either.account.users[3]["id"], either.account.trainings[5].ids
    for day in (20070101, 20300101):
        either.enter(user=user, training=training, date_number=day)
        await either.round()
    assert [data["completion"]["occasion"] for data in data_of(either)] == ["first", "renewal"]


async def test_configured_person_fields_are_sent_and_need_one_request_for_job_titles(either: "Station") -> None:
    fields = ["field_office_ids", "line_of_business_ids", "job_title", "terminated_on"]
    await either.open(50, names=True, person_fields=fields)
    await either.watcher.poll()
    person, gone = either.account.users[3], either.account.users[22]
    either.enter(user=person["id"])
    either.enter(user=gone["id"], expiry=20301231)
    await either.watcher.poll()
    (title,) = (job["title"] for job in either.account.job_titles if job["id"] == person["jobTitle_id"])
    first, second = sorted(data_of(either), key=lambda data: data["completion"]["valid_until_source"] != "renewal_rule")
    assert first["user"] == {
        "id": person["id"],
        "field_office_ids": person["fieldOffice_id"],
        "line_of_business_ids": person["lineOfBusiness_id"],
        "job_title": title,
        "terminated_on": None,
    }
    assert first["completion"]["user_employee_number"] is None
    assert second["user"]["terminated_on"] is not None
    assert (second["completion"]["valid_until"], second["completion"]["valid_until_source"]) == (
        "2030-12-31",
        "special_expiry",
    )
    assert person["employeeNumber"] not in await everything(either)
    assert sorted(lists_asked(either)) == sorted(
        ["jobtitles.list", "users.list", "trainings.list" if either.version == "v1" else "trainings.v2.list"]
    )


async def test_changed_facts_of_people_and_trainings_cause_no_event(station: "Station") -> None:
    await station.open(50, names=True, person_fields=["employee_number", "job_title"])
    await station.watcher.poll()
    station.enter()
    await station.watcher.poll()
    changed = {"employeeNumber": "NEW", "lastname": "Renamed", "jobTitle_id": station.account.job_titles[0]["id"]}
    station.account.users[:] = [{**person, **changed} for person in station.account.users]
    station.account.trainings[:] = [
        type(training)(training.ids, "Renamed", training.created, 1) for training in station.account.trainings
    ]
    station.clock.advance(86_400)
    before = len(lists_asked(station))
    for _ in range(2):
        await station.round()
        await station.until(lambda: len(lists_asked(station)) == before + 3)
    assert "NEW" in await everything(station)
    assert len(station.events) == 1
    # The id of the job title is needed to find the title, but is not among the configured fields.
    assert sorted(data_of(station)[0]["user"]) == ["employee_number", "id", "job_title"]


async def test_changed_person_fields_are_fetched_at_once_and_dropped_ones_are_erased(
    station: "Station",
) -> None:
    await station.open(50, names=True, person_fields=["employee_number", "field_office_ids"])
    await station.round()
    await station.until(lambda: len(lists_asked(station)) == 2)
    await station.restart(person_fields=["employee_number"])
    stored = await everything(station)
    person = station.account.users[3]
    assert person["employeeNumber"] in stored
    assert person["fieldOffice_id"][0] not in stored
    await station.restart(person_fields=["field_office_ids", "job_title_id"])
    assert person["employeeNumber"] not in await everything(station)
    before = len(lists_asked(station))
    station.enter(user=person["id"])
    await station.watcher.poll()
    assert data_of(station)[-1]["user"] == {
        "id": person["id"],
        "field_office_ids": person["fieldOffice_id"],
        "job_title_id": person["jobTitle_id"],
    }
    assert lists_asked(station)[before:] == ["users.list"]


async def test_event_without_names_has_a_null_user_and_training(station: "Station") -> None:
    await station.open(50, names=False)
    await station.watcher.poll()
    station.enter()
    await station.watcher.poll()
    (data,) = data_of(station)
    assert (data["user"], data["training"]) == (None, None)
    assert data["completion"]["user_employee_number"] is None


async def test_title_and_job_filters_apply_and_let_an_unknown_person_pass(station: "Station") -> None:
    cranes = {"trainings": ["crane*"], "job_titles": ["Driver"]}
    station.destinations = {"hr": cranes, "audit": {}}
    await station.open(50, names=True, person_fields=["job_title"])
    await station.watcher.poll()
    driver, other = (
        next(person for person in station.account.users if (person["jobTitle_id"] == job["id"]) is is_driver)
        for job, is_driver in ((station.account.job_titles[1], True), (station.account.job_titles[1], False))
    )
    crane = next(training.ids for training in station.account.trainings if training.title == "Crane Operation")
    ladder = next(training.ids for training in station.account.trainings if training.title == "Ladder Safety")
    (wanted,) = station.enter(user=driver["id"], training=crane)
    station.enter(user=driver["id"], training=ladder)
    station.enter(user=other["id"], training=crane)
    (unknown,) = station.enter(user="5e580f0db7806000ffffffff", training=crane)
    await station.watcher.poll()
    rows = await station.query(
        "SELECT destination, subject FROM deliveries JOIN events USING (sequence) ORDER BY sequence"
    )
    assert {subject for name, subject in rows if name == "hr"} == {str(wanted.id), str(unknown.id)}
    assert len([name for name, _ in rows if name == "audit"]) == 4


async def test_trainings_stored_by_version_1_0_are_fetched_again_for_their_facts(station: "Station") -> None:
    await station.open(50, names=True)
    await station.watcher.poll()
    station.enter()
    await station.watcher.poll()
    await station.store.run(
        lambda db: db.execute("UPDATE names_fetched SET fields = '' WHERE list = 'trainings'").rowcount
    )
    await station.store.run(lambda db: db.execute("UPDATE trainings SET facts = '{}'").rowcount)
    await station.restart()
    before = len(lists_asked(station))
    station.enter(training=station.account.trainings[0].ids)
    await station.watcher.poll()
    assert data_of(station)[-1]["training"]["renewal_months"] == station.account.trainings[0].renewal_months
    assert lists_asked(station)[before:] == ["trainings.v2.list"]
    assert (await station.store.run(name_table.last_fetches, "acme"))[name_table.NameList.TRAININGS][1] == "schedule"
