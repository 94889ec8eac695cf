"""Users' own templates: their variables, their limits, and the check of the templates before they are used."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from notifier.config import MessageSettings
from notifier.config.message_values import Language
from notifier.destinations.registry import destination_type
from notifier.events import Event, EventType
from notifier.messages.layout import lay_out
from notifier.messages.template_check import problems
from notifier.messages.template_names import Template
from notifier.messages.templates import Templates
from tests.support.completion_types import TYPES

if TYPE_CHECKING:
    from notifier.messages.rendering import TemplateProblem
    from tests.support.destinations import MakeEvent

SHIPPED = Path(__file__).parents[3] / "notifier" / "messages" / "shipped" / "en"


def problems_in(folder: Path, name: str = "slack") -> list[str]:
    """Return the problems of the templates in a folder, for a destination of type `name`."""
    table, url = TYPES[name]
    settings = table.model_validate({"type": name, "url": url, "templates": str(folder)})
    found = list(problems({"hr": settings}, lambda one: destination_type(one).fits))
    assert {problem.key for problem in found} <= {"destinations.hr.templates"}
    return [problem.message for problem in found]


def show(templates: Templates, *events: Event, room: int = 9999) -> list[str]:
    """Return the rows of a message about these events, of at most `room` characters."""
    layout = lay_out(events, templates, digest=False, fits=lambda rows: sum(len(row.text) for row in rows) <= room)
    return [row.text for row in layout]


def test_shipped_folder_contains_exactly_one_file_per_template() -> None:
    for language in Language:
        folder = SHIPPED.with_name(language.value)
        assert {file.name for file in folder.iterdir()} == {template.file for template in Template}


def test_destination_types_for_people_have_message_settings_and_a_size_check() -> None:
    assert all(issubclass(table, MessageSettings) for table, _ in TYPES.values())
    for name, (table, url) in TYPES.items():
        assert destination_type(table.model_validate({"type": name, "url": url})).fits is not None


@pytest.mark.parametrize("name", TYPES)
def test_template_check_accepts_copies_of_the_shipped_templates(tmp_path: Path, name: str) -> None:
    for file in SHIPPED.iterdir():
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    assert problems_in(tmp_path, name) == []


def test_own_template_replaces_only_the_shipped_one_of_the_same_name(tmp_path: Path, make_event: "MakeEvent") -> None:
    (tmp_path / "completed.j2").write_text("{{ training | upper | code }}:\n  {{ person | bold }}\n({{ source }})")
    troubles: list[TemplateProblem] = []
    templates = Templates(tmp_path, troubles.append)
    assert show(templates, make_event(), make_event(43, EventType.REMOVED)) == [
        "1 training completed, 1 record removed",
        "• LADDER SAFETY: David Ball (acme)",
        "• David Ball · Ladder Safety on 27 Feb 2020 was removed · #1239",
    ]
    (row,) = lay_out([make_event()], templates, digest=False, fits=lambda _: True)
    assert [(span.text, span.style) for span in row.line] == [
        ("LADDER SAFETY", "code"),
        (": ", None),
        ("David Ball", "bold"),
        (" (acme)", None),
    ]
    assert troubles == []


def test_own_templates_can_import_shared_parts(tmp_path: Path, make_event: "MakeEvent") -> None:
    (tmp_path / "completed.j2").write_text('{% from "_parts.j2" import who %}{{ who(person) }} did it')
    (tmp_path / "_parts.j2").write_text("{% macro who(name) %}{{ name | bold }}{% endmacro %}")
    assert problems_in(tmp_path) == []
    assert show(Templates(tmp_path, print), make_event()) == ["David Ball did it"]


WRONG = [
    {
        "completed.j2": ("hi\n{{ persn }}", "completed.j2, line 2: `persn` is unknown; did you mean `person`?"),
        "removed.j2": ("a\nb\n{% if %}", "removed.j2, line 3: Expected an expression, got 'end of statement block'"),
        "changed.j2": ("{% for c in changes %}\n{{ c.olt }}{% endfor %}-", "changed.j2, line 2: 'dict object' has no"),
        "session.j2": ("{{ training | bolt }}", "session.j2, line 1: No filter named 'bolt'."),
        "member.j2": (
            "{{ person.__class__.__mro__ }}",
            "member.j2, line 1: access to attribute '__class__' of 'str'",
        ),
        "heading.j2": ("{{ completed.append(1) }}", "heading.j2, line 1: 'int object' has no attribute 'append'"),
        "digest.j2": ("{{ people.append('x') }}", "digest.j2, line 1: access to attribute 'append' of 'list'"),
        "notice.j2": ('{% include "none.j2" %}', "notice.j2, line 1: there is no file named none.j2"),
        "other.j2": ("{{ person + 1 }}", "other.j2, line 1: TypeError: can only concatenate str"),
        "complete.j2": (
            "x",
            (
                "complete.j2: no message uses it; a file that other templates include must begin with `_`; did you mean"
                " `completed.j2`?"
            ),
        ),
        "part.j2": ("x", "part.j2: no message uses it; a file that other templates include must begin with `_`"),
    },
    {
        "completed.j2": (
            "{% for i in range(99999) %}x{% endfor %}",
            "completed.j2: produces more than 20,000 characters",
        ),
        "other.j2": ("{% if person == 'David Ball' %}x{% endif %}", "other.j2: produces no text"),
    },
    {"completed.j2": ('{% include "completed.j2" %}', "completed.j2, line 1: RecursionError: ")},
]


@pytest.mark.parametrize("files", WRONG, ids=["most", "too long, empty", "endless"])
def test_template_check_reports_problems_by_file_and_line(tmp_path: Path, files: dict[str, tuple[str, str]]) -> None:
    for name, (text, _) in files.items():
        (tmp_path / name).write_text(text)
    found = {re.split("[,:]", message)[0]: message for message in problems_in(tmp_path)}
    assert found.keys() == files.keys()
    for name, (_, reported) in files.items():
        assert found[name].startswith(reported)


@pytest.mark.parametrize(
    ("name", "room", "too_much"), [("slack", 10_000, 14_000), ("teams", 10_000, 14_000), ("apprise", 1000, 1900)]
)
def test_template_check_limits_text_by_destination_type(tmp_path: Path, name: str, room: int, too_much: int) -> None:
    (tmp_path / "session.j2").write_text("x" * room)
    assert problems_in(tmp_path, name) == []
    (tmp_path / "session.j2").write_text("x" * too_much)
    assert problems_in(tmp_path, name) == ["produces more text than a message has room for, even with short names"]


def test_own_template_without_room_is_reported_and_replaced(tmp_path: Path, make_event: "MakeEvent") -> None:
    (tmp_path / "completed.j2").write_text("{{ person }} {{ 'x' * 500 }}")
    troubles: list[TemplateProblem] = []
    templates = Templates(tmp_path, troubles.append)
    assert show(templates, make_event(), room=600)[0].endswith("xxx")
    assert troubles == []
    assert show(templates, make_event(1), make_event(2), room=600)[1].startswith("• David Ball completed Ladder Safety")
    assert [trouble.file for trouble in troubles] == [""]


def test_own_template_is_not_reported_if_the_shipped_one_is_as_long(tmp_path: Path, make_event: "MakeEvent") -> None:
    (tmp_path / "digest.j2").write_text("{{ heading }} in all")
    troubles: list[TemplateProblem] = []
    assert show(Templates(tmp_path, troubles.append), make_event(1), make_event(2), room=80) == [
        "2 trainings completed in all"
    ]
    assert troubles == []


def test_template_check_reports_every_wrong_file_once(tmp_path: Path) -> None:
    for template in Template:
        (tmp_path / template.file).write_text("{{ nobody_knows }}")
    reported = problems_in(tmp_path)
    assert {message.split(",")[0] for message in reported} == {template.file for template in Template}
    assert len(reported) == len(Template)


def test_template_file_that_is_not_utf8_is_reported_and_replaced(tmp_path: Path, make_event: "MakeEvent") -> None:
    (tmp_path / "completed.j2").write_bytes(b"\xff\xfe\x00")
    assert problems_in(tmp_path) == ["completed.j2: is not text in UTF-8"]
    (text,) = show(Templates(tmp_path, lambda _: None), make_event())
    assert text.startswith("David Ball completed")


def test_missing_template_folder_is_replaced_by_the_shipped_templates(tmp_path: Path, make_event: "MakeEvent") -> None:
    (text,) = show(Templates(tmp_path / "gone", lambda _: None), make_event())
    assert text.startswith("David Ball completed")


def test_named_pipe_as_template_is_reported_and_replaced(tmp_path: Path, make_event: "MakeEvent") -> None:
    os.mkfifo(tmp_path / "completed.j2")
    assert problems_in(tmp_path) == ["completed.j2: is a named pipe, not a regular file"]
    (text,) = show(Templates(tmp_path, lambda _: None), make_event())
    assert text.startswith("David Ball completed")
