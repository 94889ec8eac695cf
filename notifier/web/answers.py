"""The forms that all answers of the local HTTP interface have, and where its handlers find the daemon."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import hdrs, web

from notifier.web.control import Answer, Control

CONTROL: web.AppKey[Control] = web.AppKey("control", Control)


def json_answer(body: Mapping[str, Any], status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def error_answer(status: int, reason: str, message: str) -> web.Response:
    """Answer with the one form that errors have here."""
    answer = json_answer({"error": {"reason": reason, "message": message}}, status)
    if status == HTTPStatus.UNAUTHORIZED:
        answer.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return answer


def done(answer: Answer) -> web.Response:
    """Answer with what came of a request to do something: 200, or 409 when it could not be done now."""
    return json_answer(answer.body, HTTPStatus.OK if answer.ok else HTTPStatus.CONFLICT)
