"""A Slack channel that enforces Slack's limits."""

import re
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from tests.support.workers import Arrival

BURST = 25
"""The most messages at once before Slack answers 429, as measured with real channels."""

KEY = re.compile(r"#([0-9]+)\b")


@dataclass(slots=True)
class Channel:
    """A channel that answers like Slack: it limits the rate of messages (leaky bucket) and the size of each message."""

    leak: float
    level: float = 0.0
    refused: list[tuple[int, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    async def answer(self, arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        """Accept a message, or refuse it with an error code of Slack."""
        if self.at:
            self.level = max(0.0, self.level - (arrival.at - self.at[-1]) * self.leak)
        self.at.append(arrival.at)
        if self.level + 1 > BURST:
            self.refused.append((429, "rate_limited"))
            wait = (self.level + 1 - BURST) / self.leak
            return web.Response(status=429, text="rate_limited", headers={"Retry-After": f"{wait + 0.01:.2f}"})
        self.level += 1
        if error_code := error_code_for(arrival.body):
            self.refused.append((400, error_code))
            return web.Response(status=400, text=error_code)
        self.texts.append("\n".join(texts(arrival.body["blocks"])))
        self.sizes.append(len(orjson.dumps(arrival.body["blocks"])))
        return web.Response(text="ok")

    @property
    def keys(self) -> list[int]:
        """The record keys in all messages, sorted, with repetitions."""
        return sorted(int(key) for text in self.texts for key in KEY.findall(text))


def error_code_for(message: Any) -> str | None:
    """Return Slack's error code for a message; None if the message is valid."""
    if not isinstance(message, dict) or not message.get("text"):
        return "no_text"
    blocks = message["blocks"]
    if not 1 <= len(blocks) <= 50 or any(not 1 <= len(text) <= 3000 for text in texts(blocks)):
        return "invalid_blocks"
    return "msg_blocks_too_long" if len(orjson.dumps(blocks).decode()) > 13_200 else None


def texts(value: Any) -> list[str]:
    """Return the text of all text elements, at any depth."""
    match value:
        case {"type": "text", "text": str(text)}:
            return [text]
        case dict():
            return [text for below in value.values() for text in texts(below)]
        case list():
            return [text for below in value for text in texts(below)]
        case _:
            return []
