"""Checks users' own templates before messages need them, by rendering samples of every kind of message."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from notifier.config import Destination, MessageSettings, Problem
from notifier.config.errors import dotted
from notifier.events import Event, EventType
from notifier.messages.layout import MAX_LINES, Fits, lay_out
from notifier.messages.rendering import TemplateProblem
from notifier.messages.template_names import SUFFIX, Template
from notifier.messages.templates import Templates
from notifier.suggest import nearest

_INCLUDED_PREFIX: Final = "_"
"""The first character of the names of template files that only other templates include."""

_FULL_COMPLETION: Final = {
    "training_id": "1046",
    "training_title": "Ladder Safety",
    "user_id": "5e580f0cb780600088bd2c11",
    "user_name": "David Ball",
    "instructor_id": "5f9",
    "instructor_name": "Ida Wu",
    "group_training_id": None,
    "completed_on": "2026-02-27",
    "expires_on": "2027-02-27",
    "recorded_at": "2026-02-27T19:07:21.803Z",
    "occasion": "renewal",
    "notes": "passed",
    "has_attachments": True,
}
_HOSTILE: Final = "<!channel> *_`{{ 7 * 7 }}`_* \N{RIGHT-TO-LEFT OVERRIDE}שלום\0\N{FIRE}\n\\" * 40
_ALERT: Final = {"condition": "source_failing", "state": "firing", "subject": "acme"}


def problems(
    destinations: Mapping[str, Destination], fits_of: Callable[[Destination], Fits | None]
) -> Iterator[Problem]:
    """Yield the problems of the templates that users have written for these destinations.

    `fits_of` returns the function that checks whether a layout fits a destination; None if the destination uses no
    templates.
    """
    for name, settings in destinations.items():
        fits = fits_of(settings)
        if fits is not None and isinstance(settings, MessageSettings) and settings.templates is not None:
            for problem in _problems_in_folder(settings.templates, fits):
                yield Problem(dotted(("destinations", name, "templates")), str(problem))


def _problems_in_folder(folder: Path, fits: Fits) -> Iterator[TemplateProblem]:
    found: list[TemplateProblem] = []
    templates = Templates(folder, found.append)
    for events, digest in _samples():
        lay_out(events, templates, digest=digest, fits=fits)
    templates.close()
    # Only the first problem of each file is reported; further problems of the file probably have the same cause.
    yield from {problem.file: problem for problem in reversed(found)}.values()
    for file in sorted(folder.glob("*" + SUFFIX)):
        if file.stem not in set(Template) and not file.name.startswith(_INCLUDED_PREFIX):
            yield TemplateProblem(file.name, None, _unused_file_problem(file.stem))


def _unused_file_problem(stem: str) -> str:
    likely = nearest(stem, list(Template))
    meant = f"; did you mean `{likely}{SUFFIX}`?" if likely else ""
    return f"no message uses it; a file that other templates include must begin with `{_INCLUDED_PREFIX}`{meant}"


def _samples() -> Iterator[tuple[list[Event], bool]]:
    """Yield pairs: the events of one sample message, and whether the message is a digest."""
    fields: list[dict[str, Any]] = [
        _FULL_COMPLETION,
        dict.fromkeys(_FULL_COMPLETION),
        dict.fromkeys(_FULL_COMPLETION, _HOSTILE),
    ]
    notices: list[dict[str, Any]] = [
        {**_ALERT, "summary": "No successful poll for 15 minutes.", "since": "2026-11-21T16:45:00.000Z"},
        {**_ALERT, "state": "resolved"},
        {},
        dict.fromkeys((*_ALERT, "summary", "since"), _HOSTILE),
    ]
    everything: list[Event] = []
    for kind in (*(kind for kind in EventType if kind is not EventType.ALERT), "completion.of_tomorrow"):
        for completion in fields:
            everything.append(_completion_event(kind, completion))
            yield [everything[-1]], False
            yield [everything[-1]] * MAX_LINES, False
    for notice in notices:
        everything.append(_alert_event(notice))
        yield [everything[-1]], False
    for completion in fields:
        completed = _completion_event(EventType.CREATED, {**completion, "group_training_id": "77"})
        other = _completion_event(
            EventType.CREATED, {**_FULL_COMPLETION, **completion, "expires_on": None, "group_training_id": "77"}
        )
        yield [completed, completed], False
        yield [completed, other], False
    yield everything[:MAX_LINES], False
    yield everything, True
    yield everything[:1], True
    yield (
        [
            _completion_event(EventType.CREATED, {**_FULL_COMPLETION, "training_id": f"{n}", "user_id": f"{n}"})
            for n in range(60)
        ],
        True,
    )
    yield [_alert_event(notices[0])] * MAX_LINES, True


def _completion_event(kind: str, completion: Mapping[str, Any]) -> Event:
    previous = {name: None if value else "earlier" for name, value in completion.items()}
    data = {"completion": completion, "previous": previous if kind == EventType.UPDATED else None}
    return _sample_event(kind, str(completion["user_id"] or "1238"), data)


def _alert_event(data: Mapping[str, Any]) -> Event:
    return _sample_event(EventType.ALERT, "acme", data)


def _sample_event(kind: str, subject: str, data: Mapping[str, Any]) -> Event:
    return Event(1, "evt_sample", kind, "sample", subject, 0, orjson.dumps(data))
