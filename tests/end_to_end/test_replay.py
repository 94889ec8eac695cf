"""The daemon is killed several times during a replay: the replay continues, and puts no event back twice."""

import asyncio
import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from notifier.store.file.store import FileStore
from tests.support.program import Program, Receiver
from tests.support.waiting import until

EVENTS = 1100
DELIVERED_MS = 1_795_280_400_123
REQUEUE_LOG_SQL = """
CREATE TABLE put_back (sequence);
CREATE TRIGGER again AFTER UPDATE ON deliveries WHEN old.state <> 'pending' AND new.state = 'pending'
    BEGIN INSERT INTO put_back VALUES (new.sequence); END;
"""
"""SQL of a trigger that records, in the same transaction, each delivery that is put back into the queue."""


async def store_delivered_events(path: Path) -> None:
    def fill(db: Any) -> None:
        for number in range(1, EVENTS + 1):
            db.execute(
                "INSERT INTO events (id, type, source, subject, revision, net, reason, detected_at, data)"
                " VALUES (?, 'completion.created', 'acme', ?, 1, 'head', '', ?, '{\"completion\": {}}')",
                [f"evt_{number}", str(number), DELIVERED_MS],
            )
            db.execute("INSERT INTO deliveries (sequence, destination, state) VALUES (?, 'hr', 'delivered')", [number])

    store = FileStore(path)
    await store.open()
    await store.run(fill)
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(REQUEUE_LOG_SQL)


def replay_progress(path: Path) -> tuple[str, int]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        row = connection.execute("SELECT r.state, p.queued FROM replays r JOIN replay_parts p ON p.replay = r.id")
        found: tuple[str, int] = row.fetchone() or ("", 0)
        return found


def received_ids(receiver: Receiver) -> set[str]:
    # `receiver.events` has the bodies of requests; for this destination, each body is a batch.
    batches: list[Any] = receiver.events
    return {event["id"] for batch in batches for event in batch}


async def wait_for_progress(path: Path, *, since: int) -> None:
    await until(lambda: replay_progress(path)[1] > since)


async def test_replay_continues_after_each_kill_and_queues_no_event_twice(
    program: Program, receiver: Receiver, tmp_path: Path
) -> None:
    path = tmp_path / "notifier.db"
    await store_delivered_events(path)
    program.configure("http://127.0.0.1:9/v1", receiver.url, destination='batch_size = 100\nbatch_wait = "50ms"')
    program.config.write_text(program.config.read_text().replace("[log]", 'retention = "36500d"\n[log]', 1))
    program.start()
    await until(lambda: '"started"' in program.said())
    asking = program.begin("replay", "--since", "2026-11-21", "--until", "2026-11-21")
    await until(lambda: replay_progress(path)[0] == "running")
    moments = random.Random(20261121)
    seen: list[tuple[str, int]] = []
    for _ in range(2):
        await wait_for_progress(path, since=seen[-1][1] if seen else 0)
        # Each kill comes before the next part is put back. There are three parts; the last one comes after both kills.
        await asyncio.sleep(moments.random() * 0.3)
        program.kill()
        seen.append(replay_progress(path))
        program.start()
    await until(lambda: replay_progress(path) == ("done", EVENTS), deadline=60)
    await until(lambda: len(received_ids(receiver)) == EVENTS)
    await program.stop()
    assert asking.wait(timeout=10) == 1
    assert {state for state, _ in seen} == {"running"}
    assert "replay continues" in program.said()
    with closing(sqlite3.connect(path)) as connection:
        put_back = Counter(number for (number,) in connection.execute("SELECT sequence FROM put_back"))
    assert put_back == Counter(range(1, EVENTS + 1))
