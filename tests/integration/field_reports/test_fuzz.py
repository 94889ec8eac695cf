"""Random input: no crash, no false event, and every record that is left out is counted.

A few hundred examples in every run; `NOTIFIER_FUZZ_EXAMPLES=100000` searches for hours.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from notifier.cli.app import program
from notifier.config import Settings
from notifier.daemon.watcher_factory import build_watcher
from notifier.destinations import registry
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.destinations.sample import sample_event
from notifier.events import Event, EventType
from notifier.http.exchange import Answer, IncomingAnswer
from notifier.kpa.v1_keys import key_base
from notifier.kpa.versions import API_VERSIONS
from notifier.store.file.store import FileStore
from notifier.store.tables import sources
from notifier.store.tables.outbox import Delivery
from notifier.watch.rounds import RoundResult
from notifier.watch.source_health import FAULT
from tests.support.clocks import FakeClock
from tests.support.new_state_file import new_state_file

EXAMPLES: Final = int(os.environ.get("NOTIFIER_FUZZ_EXAMPLES", "60"))

fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
fuzzed_less = settings(max_examples=max(20, EXAMPLES // 2), deadline=None, suppress_health_check=list(HealthCheck))

pytestmark = pytest.mark.timeout(max(120, EXAMPLES * 2))

KNOWN: Final = 6
IN_MEMORY: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - nothing is kept there
ROOT: Final = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _real_time() -> None:
    """Each example has an event loop of its own."""


def v2_record(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "training_id": 7,
        "m_user_id": f"u{number}",
        "created": 1_795_000_000_000 + number,
        "date_number": 20261101 + number % 20,
        "special_expiration_date_number": 20271101,
        "m_instructor_id": None,
        "group_training_id": None,
        "notes": "on paper",
        "files": [],
    }


def v1_record(number: int) -> dict[str, Any]:
    return {
        "user_id": f"u{number}",
        "training_id": "t7",
        "created": 1_795_000_000_000 + number,
        "dateNumber": 20261101 + number % 20,
        "specialExpirationDateNumber": 20271101,
        "instructor_id": None,
        "groupTraining_id": None,
    }


RECORD_OF: Final = {"v1": v1_record, "v2": v2_record}

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from([0, 99999999, "2027-01-01", 20270101.0, "1.7e12", 1_700_000_000, {}, []]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def records_of(api: str) -> st.SearchStrategy[Any]:
    """Return new records: whole ones, ones with a few fields of any value, and any JSON."""
    whole = st.integers(1000, 1020).map(RECORD_OF[api])
    damage = st.dictionaries(st.sampled_from(sorted(RECORD_OF[api](1))), json_values, max_size=3)
    return whole | st.builds(lambda record, more: record | more, whole, damage) | json_values


KEYS: Final = {"v1": {"user_id", "training_id", "created"}, "v2": {"id"}}


def damages_of(api: str) -> st.SearchStrategy[dict[int, Any]]:
    """Return known records, by their number, with a few fields of any value; their keys stay the same."""
    names = sorted(set(RECORD_OF[api](1)) - KEYS[api])
    damage = st.dictionaries(st.sampled_from(names), json_values, min_size=1, max_size=3)
    damaged = st.builds(lambda number, more: (number, RECORD_OF[api](number) | more), st.integers(0, KNOWN - 1), damage)
    return st.lists(damaged, max_size=2).map(dict)


@dataclass
class Upstream:
    """An API that lists these records, or answers with this body instead."""

    records: list[Any]
    body: bytes | None = None
    asked: list[Mapping[str, Any]] = field(default_factory=list)

    async def __call__(self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int) -> Answer:
        del method, limit_bytes
        self.asked.append(parameters)
        first = (parameters["page"] - 1) * parameters["limit"]
        page = self.records[first : first + parameters["limit"]]
        last = max(1, -(-len(self.records) // parameters["limit"]))
        listed = json.dumps({"ok": True, "completedtrainings": page, "paging": {"last_page": last}}).encode()
        headers = CIMultiDictProxy(CIMultiDict({"Content-Type": "application/json"}))
        return Answer(200, headers, listed if self.body is None else self.body)

    def stream(
        self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int
    ) -> AbstractAsyncContextManager[IncomingAnswer]:
        raise AssertionError((method, parameters, limit_bytes))


@dataclass
class Outcomes:
    """The result of two rounds over a changed list."""

    events: list[Event]
    memory: sources.SourceMemory
    known: set[str]
    left_out: set[str]
    rounds: list[RoundResult]


async def watched(api: str, added: list[Any], damaged: Mapping[int, Any], body: bytes | None) -> Outcomes:
    """Watch an account with a few records; then add and replace some, and read it twice more."""
    clock, events = FakeClock(), list[Event]()
    upstream = Upstream([RECORD_OF[api](number) for number in range(KNOWN)])
    source = {"api": api, "token": "t", "names": False, "requests_per_minute": 10**9, "page_size": 50}
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        store = FileStore(new_state_file(Path(folder) / "notifier.db"))
        await store.open()
        configured = Settings.model_validate({"sources": {"acme": source}})
        async with aiohttp.ClientSession() as session:
            watcher = build_watcher(
                configured, "acme", session, store, clock, list, events.extend, exchange=upstream, chance=lambda: 0.5
            )
            await watcher.start()
            await one_round(watcher)
            assert events == []
            clock.advance(3600)
            # The order of the records' days is not tested here.
            upstream.records = [*added, *(damaged.get(n, record) for n, record in enumerate(upstream.records))]
            upstream.body = body
            rounds = [await one_round(watcher)]
            clock.advance(3600)
            rounds.append(await one_round(watcher))
            memory = await store.run(sources.read_or_create, "acme")
            known = await store.run(lambda db: {key for (key,) in db.execute("SELECT key FROM records").fetchall()})
            left = await store.run(lambda db: {key for (key,) in db.execute("SELECT key FROM left_out").fetchall()})
            await watcher.stop()
        await store.close()
    return Outcomes(events, memory, known, left, rounds)


async def one_round(watcher: Any) -> RoundResult:
    done = await watcher.poll()
    await watcher.run_followups()
    while watcher.is_sweeping or watcher.is_searching:
        await asyncio.sleep(0.001)
    result: RoundResult = done.result
    return result


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_random_records_are_reported_correctly_or_counted_as_unreadable(api: str) -> None:
    @fuzzed
    @given(st.lists(records_of(api), max_size=6), damages_of(api))
    def look(added: list[Any], damaged: dict[int, Any]) -> None:
        # As in a real answer: whole numbers beyond 64 bits become floats.
        added, damaged = through_json(added), {place: through_json(record) for place, record in damaged.items()}
        outcome = asyncio.run(watched(api, added, damaged, None))
        assert outcome.memory.error is None or outcome.memory.error.reason != FAULT
        assert not [event for event in outcome.events if event.type == EventType.REMOVED]
        ids = [event.id for event in outcome.events]
        assert len(set(ids)) == len(ids)
        completions, bad = API_VERSIONS[api].parse(added)
        told = {event.subject for event in outcome.events if event.type == EventType.CREATED}
        for completion in completions:
            # An unreadable record does not count where equal records of version 1 are numbered.
            assert (completion.key if api == "v2" else key_base(completion.key)) in outcome.known
        assert told <= outcome.known
        unreadable = {one.key or one.mark for one in bad if not one.is_repeated}
        assert outcome.memory.unreadable == len(outcome.left_out)
        assert outcome.memory.unreadable >= len(unreadable - outcome.known)
        for event in outcome.events:
            assert event.type != EventType.UPDATED or orjson.loads(event.data)["previous"]

    look()


def through_json(value: Any) -> Any:
    return orjson.loads(json.dumps(value, ensure_ascii=True))


@example(b"")
@example(b'{"ok": true}')
@example(b'{"ok": true, "completedtrainings": {}}')
@example(b'{"ok": true, "completedtrainings": [], "paging": {"last_page": -1, "total": 1e400}}')
@fuzzed_less
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_random_answer_causes_no_event_and_no_internal_error(body: bytes) -> None:
    outcome = asyncio.run(watched("v2", [], {}, body))
    assert outcome.memory.error is None or outcome.memory.error.reason != FAULT
    assert outcome.events == []
    assert len(outcome.known) == KNOWN


async def sent(type_: str, answer: bytes) -> Outcome:
    """Send one event to a receiver that answers these bytes, and closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    configured = Settings.model_validate(
        {"sources": {"acme": {"token": "t"}}, "destinations": {"hr": {"type": type_, "url": url, "timeout": "2s"}}}
    )
    async with server, aiohttp.ClientSession() as session:
        destination = registry.build("hr", configured.destinations["hr"], session, FakeClock())
        if hasattr(destination, "prepare"):
            await destination.prepare()
        return await destination.send([Delivery(sample_event("acme", 1), "hr")])


heads = st.builds(
    lambda version, status, fields: b"HTTP/1.%d %d x\r\n%b\r\n" % (version, status, b"".join(fields)),
    st.integers(0, 1),
    st.integers(100, 599),
    st.lists(
        st.sampled_from(
            [
                b"Content-Length: 5\r\n",
                b"Content-Length: -1\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"Content-Encoding: gzip\r\n",
                b"Retry-After: 99999999999\r\n",
                b"Retry-After: soon\r\n",
                b"Date: never\r\n",
                b"X: \xff\xfe\r\n",
                b"no colon\r\n",
            ]
        ),
        max_size=4,
    ),
)


@pytest.mark.parametrize("type_", ["http", "slack", "teams"])
def test_random_bytes_from_a_receiver_are_delivered_only_with_a_2xx_status(type_: str) -> None:
    @fuzzed_less
    @given(st.binary(max_size=40) | st.builds(lambda head, body: head + body, heads, st.binary(max_size=40)))
    def look(answer: bytes) -> None:
        outcome = asyncio.run(sent(type_, answer))
        assert isinstance(outcome, Outcome)
        if outcome.reason is AttemptResult.DELIVERED:
            assert outcome.status is not None
            assert 200 <= outcome.status < 300

    look()


toml_lines = st.sampled_from((ROOT / "config.example.toml").read_text(encoding="utf-8").splitlines())
toml_values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
toml_keys = st.sampled_from(
    ["token", "url", "type", "poll_interval", "base_url", "headers", "secret", "path", "listen", "events", "api", "x y"]
)
toml_tables = st.sampled_from(
    ["store", "http", "log", "alerts", "sources", "sources.acme", "destinations.hr", "x", "a.b.c"]
)


def as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    return repr(value)


toml_files = st.lists(
    toml_lines
    | toml_tables.map(lambda name: f"[{name}]")
    | st.builds(lambda key, value: f"{json.dumps(key)} = {as_toml(value)}", toml_keys, toml_values)
    | st.text(max_size=30),
    max_size=12,
).map("\n".join)


@fuzzed
@given(toml_files)
def test_check_of_a_random_configuration_ends_without_a_traceback(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.toml"
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        found = CliRunner().invoke(program, ["--config", str(file), "check"], prog_name="notifier")
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    assert found.exit_code in (0, 78)
    assert "Traceback" not in found.output
