"""Renders templates into lines, and describes their errors; `bounded_rendering` adds limits on time and memory."""

import re
from collections.abc import Mapping
from contextlib import suppress
from traceback import walk_tb
from typing import Final

from jinja2 import (
    BaseLoader,
    FunctionLoader,
    StrictUndefined,
    TemplateNotFound,
    TemplateRuntimeError,
    TemplateSyntaxError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct

from notifier.http.answer_text import safe_line
from notifier.messages.rich_text import bold, code, linked, sanitize_line
from notifier.messages.template_names import SUFFIX, Template, Variables
from notifier.suggest import hint

MAX_CHARACTERS: Final = 20_000
"""The maximum number of characters that a template may output: longer than any service allows for a message."""

MAX_DIGEST_CHARACTERS: Final = 10 * MAX_CHARACTERS
"""The maximum number of characters that the template of a digest may output: enough to name every event."""

_UNDEFINED: Final = re.compile(r"'(\w+)' is undefined")


class TemplateProblem(Struct, frozen=True):
    """A problem with a user's template: the file's name ("" for all files), the line, and a description."""

    file: str
    line: int | None
    description: str

    def __str__(self) -> str:
        """Return the problem as one line of text."""
        place = f"{self.file}, line {self.line}" if self.file and self.line else self.file
        return f"{place}: {self.description}" if place else self.description


def make_environment(texts: Mapping[str, str]) -> ImmutableSandboxedEnvironment:
    """Return a Jinja environment with these templates (by file name), already compiled."""
    # Nothing is escaped here, because each destination type escapes text for the format of its service.
    environment = ImmutableSandboxedEnvironment(
        loader=_loader(texts),
        undefined=StrictUndefined,
        autoescape=False,
        auto_reload=False,
    )
    environment.filters |= {"bold": bold, "code": code, "linked": linked, "counted": _counted, "number": _number}
    for name in texts:
        # Templates are compiled here, in a thread. Otherwise the first message would compile them on the event loop. A
        # template that cannot be compiled is reported when it is used; besides TemplateError, it can raise anything.
        with suppress(Exception):
            environment.get_template(name)
    return environment


def render_lines(environment: ImmutableSandboxedEnvironment, template: Template, variables: Variables) -> list[str]:
    """Return the lines that a template renders.

    Raises any error of the template, and TemplateRuntimeError if its output is empty or too long.
    """
    pieces: list[str] = []
    length, most = 0, MAX_DIGEST_CHARACTERS if template is Template.DIGEST else MAX_CHARACTERS
    for piece in environment.get_template(template.file).generate(variables):
        length += len(piece)
        if length > most:
            raise TemplateRuntimeError(f"produces more than {most:,} characters")
        pieces.append(piece)
    text = "".join(pieces)
    lines = list(filter(None, map(sanitize_line, text.split("\n") if template is Template.DIGEST else [text])))
    if not lines:
        raise TemplateRuntimeError("produces no text")
    return lines


def problem_of_error(template: Template, error: Exception, variables: Variables) -> TemplateProblem:
    """Describe an error that a template has raised, with the file and the line."""
    if isinstance(error, TemplateSyntaxError):
        return TemplateProblem(error.name or template.file, error.lineno, error.message or "cannot be read")
    place: tuple[str, int | None] = (template.file, None)
    for frame, line in walk_tb(error.__traceback__):
        if frame.f_code.co_filename.endswith(SUFFIX):
            place = (frame.f_code.co_filename, line)
    # An error's text may contain a value of any length.
    return TemplateProblem(*place, safe_line(_error_text(error, variables), ()))


def _loader(texts: Mapping[str, str]) -> BaseLoader:
    return FunctionLoader(lambda name: (texts[name], name, None) if name in texts else None)


def _error_text(error: Exception, variables: Variables) -> str:
    if unknown := _UNDEFINED.fullmatch(str(error)):
        return f"`{unknown[1]}` is unknown; {hint(unknown[1], variables)}"
    if isinstance(error, TemplateNotFound):
        return f"there is no file named {error.name}"
    if isinstance(error, TemplateRuntimeError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 training`, `3,012 people`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _number(number: int) -> str:
    return f"{number:,}"
