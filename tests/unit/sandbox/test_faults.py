"""Each fault, as a client of the simulated API receives it."""

import asyncio
import time
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import ClientPayloadError
from msgspec.structs import astuple

from notifier.sandbox import CONTROL, Dialect, SandboxControl, make_app, serve, synthetic_account
from notifier.sandbox.control import parse_fault
from notifier.sandbox.fault_kinds import FAULT_KINDS
from notifier.sandbox.notation import NotationError
from tests.support.clocks import FakeClock
from tests.unit.sandbox.conftest import Caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from notifier.sandbox import Account
    from notifier.sandbox.faults import Fault

import aiohttp

LIST = "completedtrainings.v2.list"
RECORDS = 250


class Sandbox:
    """A served account of 250 records, and its control."""

    def __init__(self, account: "Account", clock: FakeClock, control: SandboxControl, caller: Caller) -> None:
        self.account = account
        self.clock = clock
        self.control = control
        self.caller = caller

    async def page(self, page: int = 1, limit: int = 100, method: str = LIST, **parameters: Any) -> dict[str, Any]:
        return await self.caller.post(method, page=page, limit=limit, **parameters)

    async def ids(self, page: int = 1, limit: int = 100, **parameters: Any) -> list[int]:
        return [record["id"] for record in (await self.page(page, limit, **parameters))["completedtrainings"]]

    async def last_page(self, limit: int = 1) -> int:
        last: int = (await self.page(limit=limit))["paging"]["last_page"]
        return last


@pytest.fixture
async def sandbox() -> "AsyncIterator[Sandbox]":
    account = synthetic_account(RECORDS)
    clock = FakeClock()
    app = make_app(account, rate_limit=None, clock=clock.monotonic)
    async with serve(app) as url, aiohttp.ClientSession() as session:
        yield Sandbox(account, clock, app[CONTROL], Caller(url, session, None))  # type: ignore[arg-type]


def ids_of(account: "Account") -> list[int]:
    return [record.id for record in account.records()]


async def test_late_computes_the_answer_at_once_and_sends_it_later(sandbox: Sandbox) -> None:
    sandbox.control.begin("late:200ms,times=1")
    top = ids_of(sandbox.account)[0]
    started = time.monotonic()
    answer = asyncio.create_task(sandbox.ids())
    await asyncio.sleep(0.05)
    sandbox.account.remove(top)
    assert (await answer)[0] == top
    assert time.monotonic() - started >= 0.2
    assert (await sandbox.ids())[0] != top


async def test_hang_never_answers(sandbox: Sandbox) -> None:
    sandbox.control.begin("hang")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sandbox.ids(), 0.2)


async def test_stale_answers_with_an_earlier_list(sandbox: Sandbox) -> None:
    before = await sandbox.page()
    first, second, third = ids_of(sandbox.account)[:3]
    sandbox.clock.seconds += 10
    sandbox.account.edit(first, notes="corrected")
    sandbox.account.edit(first, notes="corrected again")
    sandbox.account.remove(second)
    sandbox.account.edit(third, date_number=20200101)
    added = sandbox.control.edits.enter(3)
    running = sandbox.control.begin("stale:20s")
    assert await sandbox.page() == before
    sandbox.clock.seconds += 11
    assert await sandbox.page() == before
    sandbox.clock.seconds += 10
    assert (await sandbox.ids())[:3] == [record.id for record in reversed(added)]
    sandbox.control.end(running)
    assert await sandbox.last_page() == RECORDS + 2


async def test_hidden_records_are_neither_listed_nor_counted(sandbox: Sandbox) -> None:
    sandbox.control.begin("hidden:20")
    first = await sandbox.ids(limit=1000)
    assert len(first) == 230
    assert await sandbox.last_page() == 230
    assert await sandbox.ids(limit=1000) == first


async def test_unlisted_records_are_counted_and_later_ones_move_up(sandbox: Sandbox) -> None:
    sandbox.control.begin("unlisted:20")
    assert await sandbox.last_page() == 250
    pages = [await sandbox.ids(page) for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [100, 100, 30]


async def test_short_omits_a_record_and_moves_no_other(sandbox: Sandbox) -> None:
    whole = ids_of(sandbox.account)
    sandbox.control.begin(f"short:#{whole[120]}")
    assert await sandbox.ids(1) == whole[:100]
    assert await sandbox.ids(2) == [*whole[100:120], *whole[121:200]]
    assert await sandbox.ids(3) == whole[200:]


@pytest.mark.parametrize(("fault", "left"), [("empty", 0), ("halved", 125), ("hidden:50%", 125)])
async def test_empty_halved_and_hidden_lists_have_the_matching_count(sandbox: Sandbox, fault: str, left: int) -> None:
    sandbox.control.begin(fault)
    assert len(await sandbox.ids(limit=1000)) == left
    assert await sandbox.last_page() == max(left, 1)


async def test_empty_of_precise_affects_only_precise_questions(sandbox: Sandbox) -> None:
    sandbox.control.begin("empty:of=precise")
    user = next(sandbox.account.records()).user
    assert await sandbox.ids(user_id=user) == []
    assert len(await sandbox.ids()) == 100


async def test_total_no_last_page_and_miscounted_change_the_paging(sandbox: Sandbox) -> None:
    assert (await sandbox.page())["paging"] == {"last_page": 3}
    sandbox.control.begin("total")
    assert (await sandbox.page())["paging"] == {"last_page": 3, "total": 250}
    sandbox.control.begin("total:+1")
    assert (await sandbox.page())["paging"] == {"last_page": 3, "total": 251}
    sandbox.control.end()
    sandbox.account.dialect = Dialect(total=True)
    sandbox.control.begin("total:-1")
    assert (await sandbox.page())["paging"] == {"last_page": 3, "total": 249}
    sandbox.control.begin("no-last-page")
    assert (await sandbox.page())["paging"] == {"total": 249}
    sandbox.control.end()
    sandbox.control.begin("miscounted:-1")
    assert (await sandbox.page(limit=1))["paging"] == {"last_page": 249, "total": 249}


async def test_capped_limits_the_page_size_and_same_page_ignores_the_page(sandbox: Sandbox) -> None:
    whole = ids_of(sandbox.account)
    sandbox.control.begin("capped:50")
    assert await sandbox.ids(2, limit=1000) == whole[50:100]
    assert await sandbox.last_page(limit=1000) == 5
    sandbox.control.end()
    sandbox.control.begin("same-page")
    assert await sandbox.ids(3) == whole[:100]


async def test_oldest_first_reverses_the_order_and_shuffled_ties_varies_it(sandbox: Sandbox) -> None:
    whole = ids_of(sandbox.account)
    sandbox.control.begin("oldest-first")
    assert await sandbox.ids(limit=1000) == whole[::-1]
    sandbox.control.end()
    for id_ in whole:
        sandbox.account.edit(id_, date_number=20240601)
    sandbox.control.begin("shuffled-ties")
    one, other = await sandbox.ids(limit=1000), await sandbox.ids(limit=1000)
    assert one != other
    assert sorted(one) == sorted(other) == sorted(whole)


@pytest.mark.parametrize("method", [LIST, "completedtrainings.list"])
async def test_unreadable_records_are_listed_with_an_unknown_date(sandbox: Sandbox, method: str) -> None:
    sandbox.control.begin("unreadable:3")
    records = (await sandbox.page(limit=1000, method=method))["completedtrainings"]
    field = "date_number" if method == LIST else "dateNumber"
    assert [record[field] for record in records].count("unknown") == 3
    assert len(records) == 250


async def test_no_files_capitals_and_renumbered_change_the_fields(sandbox: Sandbox) -> None:
    before = (await sandbox.page())["completedtrainings"]
    sandbox.control.begin("no-files")
    sandbox.control.begin("capitals")
    sandbox.control.begin("renumbered")
    after = (await sandbox.page())["completedtrainings"]
    assert [record["id"] - 1_000_000 for record in after] == [record["id"] for record in before]
    assert [record["m_user_id"] for record in after] == [record["m_user_id"].upper() for record in before]
    assert not any("files" in record for record in after)
    assert all("files" in record for record in before)


async def test_wrong_date_with_times_1_changes_one_date_header(sandbox: Sandbox) -> None:
    sandbox.control.begin("wrong-date:1d,times=1")
    body = orjson.dumps({"token": "sandbox"})
    off = []
    for _ in range(2):
        response, _content = await sandbox.caller.exchange("POST", LIST, body)
        off.append(parsedate_to_datetime(response.headers["Date"]).timestamp() - time.time())
    assert off[0] == pytest.approx(86_400, abs=5)
    assert off[1] == pytest.approx(0, abs=5)


@pytest.mark.parametrize(
    ("fault", "error_name"),
    [("rate-limit", "rate_limit_exceeded"), ("error", "server_error"), ("error:token_inactive", "token_inactive")],
)
async def test_rate_limit_and_error_answer_with_an_api_error(sandbox: Sandbox, fault: str, error_name: str) -> None:
    sandbox.control.begin(f"{fault},times=1" if ":" in fault else f"{fault}:times=1")
    assert await sandbox.page() == {"ok": False, "error": error_name}
    assert (await sandbox.page())["ok"]


async def test_status_and_cut_off_answer_without_valid_json(sandbox: Sandbox) -> None:
    body = orjson.dumps({"token": "sandbox"})
    sandbox.control.begin("status:503,times=1")
    response, content = await sandbox.caller.exchange("POST", LIST, body)
    assert (response.status, response.content_type) == (503, "text/html")
    sandbox.control.begin("cut-off:times=1")
    try:
        _response, content = await sandbox.caller.exchange("POST", LIST, body)
    except ClientPayloadError:
        content = b""
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(content)


async def test_several_faults_apply_together(sandbox: Sandbox) -> None:
    sandbox.control.begin("hidden:50")
    sandbox.control.begin("capped:30")
    sandbox.control.begin("total:+2")
    answer = await sandbox.page(limit=1000)
    assert len(answer["completedtrainings"]) == 30
    assert answer["paging"] == {"last_page": 7, "total": 202}


def parts(fault: "Fault") -> list[object]:
    """Return what a fault consists of, in a form that can be compared."""
    return [(it.func, it.args, it.keywords) if isinstance(it, partial) else it for it in astuple(fault)]


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_parse_fault_reads_each_kind_with_its_value(kind: str) -> None:
    example = {"DURATION": "5s", "WHICH": "#1500+#1501", "N": "500", "NAME": "server_error", "": ""}
    value = example[FAULT_KINDS[kind].value]
    fault, scope = parse_fault(f"{kind}:{value}," if value else kind)
    assert parts(fault) == parts(FAULT_KINDS[kind].parse(value))
    assert scope.method == "completedtrainings"


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_parse_fault_without_a_value_reads_the_scope_or_raises(kind: str) -> None:
    if FAULT_KINDS[kind].value and not FAULT_KINDS[kind].default:
        with pytest.raises(NotationError, match="needs a value"):
            parse_fault(f"{kind},times=1")
        return
    (one, scope), (other, same_scope) = parse_fault(f"{kind},times=1,for=2s"), parse_fault(f"{kind}:times=1,for=2s")
    assert (parts(one), scope) == (parts(other), same_scope)
    assert scope.times == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("error,server_error", "`server_error` must be written once, as key=value"),
        ("", "there is no fault ``"),
        ("slow", "there is no fault `slow`"),
        ("late", "needs a value: late:DURATION"),
        ("late:4", "not a duration"),
        ("empty:5", "takes no value"),
        ("hidden:some", "whole number from 1"),
        ("hidden:1500+1", "whole number from 1"),
        ("late:1s,colour=red", "`late` has no `colour`"),
        ("late:1s,page=1,page=2", "written once"),
        ("late:1s,page", "key=value"),
        ("late:1s,of=names", "must be one of list, count, precise"),
        ("error:broken", "not an error that the API returns"),
        ("status:200", "whole number from 400"),
        ("total:many", "such as +1"),
    ],
)
def test_parse_fault_with_wrong_notation_raises_notation_error(text: str, problem: str) -> None:
    with pytest.raises(NotationError, match=problem.replace("+", r"\+")):
        parse_fault(text)


async def test_faults_apply_to_the_training_employee_status_list(sandbox: Sandbox) -> None:
    method = "training-employee-status.list"

    async def completed(page: int = 1) -> tuple[int, dict[str, int]]:
        answer = await sandbox.page(page, 1000, method)
        return sum(len(employee["last_completed"]) for employee in answer["employees"]), answer["paging"]

    everything, paging = await completed()
    assert everything > 0
    assert paging == {"last_page": 1}
    sandbox.control.begin(f"empty:method={method}")
    assert (await completed())[0] == 0
    sandbox.control.end()
    sandbox.control.begin(f"halved:method={method}")
    assert 0 < (await completed())[0] < everything
    sandbox.control.end()
    sandbox.control.begin(f"no-last-page:method={method}")
    sandbox.control.begin(f"same-page:method={method}")
    assert await completed(7) == (everything, {})
    sandbox.control.end()
    sandbox.control.begin(f"unreadable:50%,method={method}")
    answer = await sandbox.page(1, 1000, method)
    days = [entry["date_number"] for employee in answer["employees"] for entry in employee["last_completed"]]
    assert "unknown" in days
    sandbox.control.end()
    sandbox.control.begin(f"error:server_error,method={method}")
    assert (await sandbox.page(1, 1000, method))["error"] == "server_error"
    assert "completedtrainings" in await sandbox.page()
