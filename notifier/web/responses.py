"""Builds JSON answers of the local HTTP interface. `DAEMON` is the key under which handlers find the daemon."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import hdrs, web

from notifier.web.daemon_api import ActionResult, DaemonApi

if TYPE_CHECKING:
    from notifier.web.response_models.shared import ErrorDocument

DAEMON: web.AppKey[DaemonApi] = web.AppKey("daemon", DaemonApi)


def json_answer(body: Mapping[str, Any], status: int = 200) -> web.Response:
    """Return an answer with a JSON body."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def error_answer(status: int, reason: str, message: str) -> web.Response:
    """Return an error answer: a JSON object with the error's name (`reason`) and message."""
    body: ErrorDocument = {"error": {"reason": reason, "message": message}}
    answer = json_answer(body, status)
    if status == HTTPStatus.UNAUTHORIZED:
        answer.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return answer


def action_answer(answer: ActionResult[Mapping[str, Any]]) -> web.Response:
    """Return the answer to a requested action: status 200, or 409 if the action could not be carried out now."""
    return json_answer(answer.body, HTTPStatus.OK if answer.ok else HTTPStatus.CONFLICT)
