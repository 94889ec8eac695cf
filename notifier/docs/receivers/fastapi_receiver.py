"""A receiver of Completion Notifier's events in Python, with FastAPI.

    pip install fastapi uvicorn
    WEBHOOK_SECRET=whsec_... uvicorn --port 8000 fastapi_receiver:app

This program writes each event to a file in the folder EVENTS (`<id>.json`) before it answers, and does the work
afterwards. A file whose work is done is renamed to `<id>.done`. These files are kept, so that an event that arrives
again is recognised.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_") + "==")
EVENTS = Path(os.environ.get("EVENTS", "events"))
TOLERANCE_SECONDS = 300
LONGEST_BODY_BYTES = 32 * 2**20
RETRY_SECONDS = 60
ID = re.compile(r"evt_[a-z2-7]{26}")

logger = logging.getLogger("receiver")
to_do: asyncio.Queue[Path] = asyncio.Queue()


def work(event: dict[str, Any]) -> None:
    """Do the work for an event. After a crash, it may be done again for the same event: it must be safe to repeat."""
    print("received", event["type"], event["id"], flush=True)  # replace this


def is_genuine(headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether the request has a valid signature (Standard Webhooks) and is recent."""
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    content = f"{message_id}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode()
    signatures = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected.encode(), one.encode()) for one in signatures)


def events_in(document: Any) -> list[Any]:
    """Return the events in a body: one event, an array of events, or an object with the array `events`.

    A message of the type `notifier.batch` has such an object in its field `data`.
    """
    if isinstance(document, dict) and document.get("type") == "notifier.batch":
        document = document.get("data")
    if isinstance(document, dict) and "events" in document:
        document = document["events"]
    return document if isinstance(document, list) else [document]


def keep(event: dict[str, Any]) -> Path | None:
    """Write an event to its file on the disk; return the file, or None if the event arrived before."""
    file = EVENTS / f"{event['id']}.json"
    if file.with_suffix(".done").exists():
        return None
    part = EVENTS / f"{event['id']}.{os.getpid()}.{time.monotonic_ns()}.part"
    with part.open("w", encoding="utf-8") as written:
        json.dump(event, written)
        written.flush()
        os.fsync(written.fileno())
    try:
        # Unlike a rename, a link fails if the file exists.
        os.link(part, file)
    except FileExistsError:
        return None
    finally:
        part.unlink()
    return file


def finish(file: Path) -> None:
    """Work on a kept event, and mark it as done."""
    done = file.with_suffix(".done")
    if done.exists():  # the event arrived again and was kept just after it was done
        file.unlink(missing_ok=True)
        return
    work(json.loads(file.read_text(encoding="utf-8")))
    file.rename(done)


def unfinished() -> list[Path]:
    """Return the files that an earlier run has accepted and not finished; make the folder if there is none."""
    EVENTS.mkdir(parents=True, exist_ok=True)
    return sorted(EVENTS.glob("*.json"))


async def finish_all() -> None:
    """Finish one kept event after the other. An event whose work fails is tried again later."""
    while True:
        file = await to_do.get()
        try:
            await asyncio.to_thread(finish, file)
        except Exception:
            logger.exception("%s is tried again in %d seconds", file, RETRY_SECONDS)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, to_do.put_nowait, file)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Work on events while the program runs, first on those of an earlier run."""
    for file in unfinished():
        to_do.put_nowait(file)
    worker = asyncio.create_task(finish_all())
    yield
    worker.cancel()


app = FastAPI(lifespan=lifespan, openapi_url=None)


@app.post("/hook")
async def receive(request: Request) -> Response:
    """Accept events: 204 means that they are kept."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LONGEST_BODY_BYTES:
            return Response(status_code=413)
    if not is_genuine(request.headers, bytes(body)):
        return Response(status_code=401)
    events: list[Any] = []
    with suppress(ValueError):
        events = events_in(json.loads(body))
    if not all(isinstance(one, dict) and ID.fullmatch(str(one.get("id"))) for one in events) or not events:
        return Response(status_code=400)
    for event in events:
        file = await asyncio.to_thread(keep, event)
        if file is not None:
            to_do.put_nowait(file)
    return Response(status_code=204)
