"""The OpenAPI document at `/openapi.json` (https://spec.openapis.org/oas/v3.1.0)."""

from typing import Any

from notifier import __version__
from notifier.web.openapi import deliveries, feed, general, people, replay, sources
from notifier.web.openapi.parts import ERRORS, answer, complete, ref, text


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    subjects = [part.describe() for part in (general, feed, sources, deliveries, replay, people)]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Completion Notifier",
            "version": __version__,
            "summary": "The local HTTP interface of the daemon.",
            "description": "Over the owner's socket nothing needs a token. Elsewhere all but `/healthz`, `/readyz` and,"
            " where no token is configured, `/metrics` needs the token or a browser's session, unless `anonymous` is"
            " set. Later versions may add fields to answers.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"session": []}, {}],
        "tags": [{"name": name} for name in ("general", "feed", "sources", "deliveries", "replay", "people")],
        "paths": {path: its for subject in subjects for path, its in subject.paths.items()},
        "components": {
            "schemas": {
                "Error": _ERROR,
                **{name: its for subject in subjects for name, its in subject.schemas.items()},
            },
            "responses": {str(status): answer(said, ref("Error")) for status, said in ERRORS.items()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The `[http] token` of the configuration.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "notifier_session_8787",
                    "description": "Of a browser that has signed in. The name ends with the port; over TLS it is"
                    " `__Host-notifier_session`.",
                },
            },
        },
    }


_ERROR = complete(
    {
        "error": complete(
            {
                "reason": text("The error's name, from a closed set."),
                "message": text("What is wrong, and what to do about it."),
            }
        )
    }
)
