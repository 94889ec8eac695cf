"""The control of the sandbox: which requests a fault affects, edits during an answer, and the same over HTTP."""

import time
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from notifier.sandbox import CONTROL, TRAFFIC, Account, Record, SandboxControl, make_app, serve, synthetic_account
from notifier.sandbox.account import Filters
from notifier.sandbox.edits import EditError
from notifier.sandbox.faults import ApiRequest
from notifier.sandbox.notation import NotationError
from notifier.sandbox.records import date_number, day_of
from tests.support.clocks import FakeClock

V2 = "completedtrainings.v2.list"


@pytest.fixture
def account() -> Account:
    return synthetic_account(50)


@pytest.fixture
def control(account: Account, clock: FakeClock) -> SandboxControl:
    return SandboxControl(account, clock.monotonic)


def is_affected(control: SandboxControl, *questions: ApiRequest) -> list[bool]:
    return [bool(control.select_faults(question)) for question in questions]


PAGE_1 = ApiRequest(V2)
PAGE_4 = ApiRequest(V2, page=4, limit=1000)
COUNT = ApiRequest(V2, limit=1)
PRECISE = ApiRequest(V2, filters=Filters(user="5e580f0cb780600088bd2c11"))
NAMES = ApiRequest("users.list")
OLD_PAGE_1 = ApiRequest("completedtrainings.list")


@pytest.mark.parametrize(
    ("scope", "affected"),
    [
        ("", [PAGE_1, PAGE_4, COUNT, PRECISE, OLD_PAGE_1]),
        ("page=4", [PAGE_4]),
        ("limit=1000", [PAGE_4]),
        ("of=list", [PAGE_1, PAGE_4, OLD_PAGE_1]),
        ("of=count", [COUNT]),
        ("of=precise", [PRECISE]),
        ("method=users", [NAMES]),
        ("method=all", [PAGE_1, PAGE_4, COUNT, PRECISE, NAMES, OLD_PAGE_1]),
        ("method=completedtrainings.v2.list,page=1,of=list", [PAGE_1]),
    ],
)
def test_fault_scope_selects_matching_requests(control: SandboxControl, scope: str, affected: list[ApiRequest]) -> None:
    control.begin(f"empty:{scope}")
    every = [PAGE_1, PAGE_4, COUNT, PRECISE, NAMES, OLD_PAGE_1]
    assert [question for question in every if control.select_faults(question)] == affected


def test_fault_scope_with_every_and_times_selects_by_count(control: SandboxControl) -> None:
    control.begin("empty:every=2,times=2")
    assert is_affected(control, *[PAGE_1] * 6) == [False, True, False, True, False, False]
    assert control.running() == []


def test_fault_scope_with_after_and_for_selects_by_time(control: SandboxControl, clock: FakeClock) -> None:
    control.begin("empty:after=5s,for=10s")
    seen = []
    for _ in range(5):
        seen += is_affected(control, PAGE_1)
        clock.seconds += 4
    assert seen == [False, False, True, True, False]
    assert control.running() == []


def test_control_end_ends_one_fault_or_all(control: SandboxControl) -> None:
    first, second = control.begin("empty"), control.begin("halved")
    control.run_during_answer(lambda: None, "page=1")
    control.end(first)
    assert control.running()[0] is second
    control.end()
    assert control.running() == []


def test_run_during_answer_runs_once_for_its_request(control: SandboxControl) -> None:
    done: list[int] = []
    control.run_during_answer(lambda: done.append(1), "page=4")
    for question in (PAGE_1, PAGE_4, PAGE_4):
        control.run_waiting_edits(question)
    assert done == [1]


def test_waiting_edit_that_fails_does_not_fail_the_answer(control: SandboxControl) -> None:
    control.edit("delete:#1,page=4")
    control.run_waiting_edits(PAGE_4)


def edited_records(control: SandboxControl, text: str) -> list[Record]:
    records = control.edit(text)
    assert isinstance(records, list)
    return records


def test_edits_enter_backdate_and_offline_add_records(control: SandboxControl, account: Account) -> None:
    now = time.time_ns() // 1_000_000
    today = date_number(day_of(account.now_ms()))
    (record,) = edited_records(control, "enter")
    assert record.date_number == today
    assert record.created == pytest.approx(now, abs=5000)
    several = edited_records(control, "backdate:2,days=10")
    assert len({record.id for record in several}) == 2
    assert all(it.date_number < today and it.created >= record.created for it in several)
    (offline,) = edited_records(control, "offline:1,days=3")
    assert offline.created == pytest.approx(now - 3 * 86_400_000, abs=5000)
    assert len(account) == 54


def test_edits_edit_move_delete_restore_and_twin_change_records(control: SandboxControl, account: Account) -> None:
    record = next(account.records())
    text = f"#{record.id}"
    assert edited_records(control, f"edit:{text},notes=hello")[0].notes == "hello"
    (moved,) = edited_records(control, f"move:{text},days=40,person=5e580f0cb780600088bd2c11")
    assert moved.user == "5e580f0cb780600088bd2c11"
    assert moved.date_number == date_number(day_of(account.now_ms()) - timedelta(days=40))
    edited_records(control, f"delete:{text}")
    assert len(account) == 49
    assert edited_records(control, "restore") == [moved]
    (twin,) = edited_records(control, f"twin:{text}")
    assert twin == replace(moved, id=twin.id)
    assert len(edited_records(control, "delete:10%")) == 5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("paint:#1", "there is no edit `paint`"),
        ("delete", "needs the records"),
        ("move:#1", "needs days=, person= or both"),
        ("enter:0", "whole number from 1"),
        ("delete:#1,days=3", "`delete` has no `days`"),
    ],
)
def test_edit_with_wrong_notation_raises_notation_error(control: SandboxControl, text: str, problem: str) -> None:
    with pytest.raises(NotationError, match=problem):
        control.edit(text)


def test_edit_that_cannot_be_made_raises_edit_error(control: SandboxControl) -> None:
    with pytest.raises(EditError, match="no record 1"):
        control.edit("delete:#1")
    with pytest.raises(EditError, match="deleted"):
        control.edit("restore")


class Remote:
    """A client of the control over HTTP."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def ask(self, verb: str, path: str, body: str | None = None) -> tuple[int, Any]:
        async with self.session.request(verb, f"{self.url}/control{path}", data=body) as response:
            return response.status, await response.json()


async def test_control_over_http_manages_faults_and_edits(account: Account) -> None:
    app = make_app(account, rate_limit=None)
    async with serve(app) as url, aiohttp.ClientSession() as session:
        remote = Remote(url.removesuffix("/v1"), session)
        assert await remote.ask("GET", "/faults") == (200, {"running": []})
        fault = {"id": 1, "written": "empty:page=4", "requests": 0}
        assert await remote.ask("POST", "/faults", "empty:page=4") == (201, fault)
        assert await remote.ask("GET", "/faults") == (200, {"running": [fault]})
        assert await remote.ask("DELETE", "/faults/1") == (200, {"ended": [fault]})
        assert (await remote.ask("DELETE", "/faults/1"))[0] == 404
        assert (await remote.ask("POST", "/faults", "slow"))[0] == 400
        status, edited = await remote.ask("POST", "/edits", "enter:2")
        assert (status, len(edited["ids"])) == (200, 2)
        assert (await remote.ask("POST", "/edits", f"delete:#{edited['ids'][0]},page=1"))[0] == 202
        assert (await remote.ask("POST", "/edits", "delete:#1"))[0] == 400
        async with session.post(f"{url}/{V2}", json={"token": "sandbox", "limit": 1}) as response:
            assert (await response.json())["paging"]["last_page"] == 52
        assert len(account) == 51
        assert (await remote.ask("DELETE", "/faults"))[1] == {"ended": []}
        async with session.get(f"{remote.url}/control") as response:
            usage = await response.text()
        assert "late:DURATION" in usage
        assert app[TRAFFIC].requests == {V2: 1}
        assert app[CONTROL].running() == []
