"""The words of messages, from Jinja templates: those that are shipped, and a user's own in their place.

A template decides what a line says; limits, notations and escapes are the code's. It gets nothing but text that cannot
disturb a message, and whatever it gives is text as well: `{{ person | bold }}` is all the formatting there is. One that
fails is reported, and the shipped one speaks instead: no event waits for a template.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb

from jinja2 import (
    BaseLoader,
    FunctionLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateRuntimeError,
    TemplateSyntaxError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notifier.config.suggestions import hint
from notifier.deliver.answers import shown
from notifier.deliver.message.text import Line, bold, code, spans, tidy
from notifier.deliver.message.words import SUFFIX, Template, Variables

MOST_CHARACTERS = 20_000
"""What a template may give; more than any service takes in a whole message."""

_SHIPPED = Path(__file__).parent / "shipped"
_UNDEFINED = re.compile(r"'(\w+)' is undefined")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a user's template: in which file of the folder ("" for all), on which line, and what."""

    file: str
    line: int | None
    what: str

    def __str__(self) -> str:
        """Write it as one line."""
        place = f"{self.file}, line {self.line}" if self.file and self.line else self.file
        return f"{place}: {self.what}" if place else self.what


Report = Callable[[Trouble], None]


class Templates:
    """What says the lines of messages to one destination."""

    def __init__(self, folder: Path | None, report: Report) -> None:
        """Read the templates of `folder`, and the shipped ones for those that it has not; None: only these.

        `report` hears of everything that is wrong, as often as it comes up. This reads files, and compiles what is in
        them; nothing does afterwards.
        """
        shipped = dict(_read(_SHIPPED, report))
        own = {} if folder is None else dict(_read(folder, report))
        self._own = _environment(shipped | own) if own else None
        self._environment = _environment(shipped)
        self._report = report
        self.shipped: Templates | None = Templates(None, report) if own else None
        """The shipped ones alone; None when these are they."""

    def report(self, what: str) -> None:
        """Report what is wrong with what all templates give together."""
        self._report(Trouble("", None, what))

    def line(self, template: Template, variables: Variables) -> Line:
        """Say one line."""
        return spans(self.marked(template, variables))

    def marked(self, template: Template, variables: Variables) -> str:
        """Say one line, its marks still in it, as other templates can have it."""
        return " ".join(self.lines(template, variables))

    def lines(self, template: Template, variables: Variables) -> list[str]:
        """Say one line or, in a digest, several: at least one, none of them empty, the marks still in them."""
        if self._own is not None:
            try:
                return _lines(self._own, template, variables)
            except Exception as error:  # noqa: BLE001 - a template can raise anything; reported, and said otherwise
                self._report(_trouble(template, error, variables))
        return _lines(self._environment, template, variables)


def _read(folder: Path, report: Report) -> Iterator[tuple[str, str]]:
    try:
        files = sorted(folder.glob("*" + SUFFIX))
    except OSError as error:
        report(Trouble("", None, f"the folder cannot be read: {error.strerror}"))
        return
    for file in files:
        try:
            yield file.name, file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            report(Trouble(file.name, None, "is not text in UTF-8"))
        except OSError as error:
            report(Trouble(file.name, None, f"cannot be read: {error.strerror}"))


def _environment(texts: Mapping[str, str]) -> ImmutableSandboxedEnvironment:
    # Nothing is escaped: what comes out is no HTML, and each destination type writes it literally.
    environment = ImmutableSandboxedEnvironment(
        loader=_loader(texts),
        undefined=StrictUndefined,
        autoescape=False,
        auto_reload=False,
    )
    environment.filters |= {"bold": bold, "code": code, "counted": _counted, "number": _number}
    for name in texts:
        # Compiled now, off the event loop, and not by the first message.
        with suppress(TemplateError):
            environment.get_template(name)
    return environment


def _loader(texts: Mapping[str, str]) -> BaseLoader:
    return FunctionLoader(lambda name: (texts[name], name, None) if name in texts else None)


def _lines(environment: ImmutableSandboxedEnvironment, template: Template, variables: Variables) -> list[str]:
    """Let a template speak. Raises whatever it raises, and TemplateRuntimeError when it says nothing, or too much."""
    pieces: list[str] = []
    length = 0
    for piece in environment.get_template(template.file).generate(variables):
        length += len(piece)
        if length > MOST_CHARACTERS:
            raise TemplateRuntimeError(f"gives more than {MOST_CHARACTERS:,} characters")
        pieces.append(piece)
    text = "".join(pieces)
    lines = list(filter(None, map(tidy, text.split("\n") if template is Template.DIGEST else [text])))
    if not lines:
        raise TemplateRuntimeError("gives no text")
    return lines


def _trouble(template: Template, error: Exception, variables: Variables) -> Trouble:
    if isinstance(error, TemplateSyntaxError):
        return Trouble(error.name or template.file, error.lineno, error.message or "cannot be read")
    where: tuple[str, int | None] = (template.file, None)
    for frame, line in walk_tb(error.__traceback__):
        if frame.f_code.co_filename.endswith(SUFFIX):
            where = (frame.f_code.co_filename, line)
    # What an error says may repeat a value, however long that is.
    return Trouble(*where, shown(_what(error, variables), ()))


def _what(error: Exception, variables: Variables) -> str:
    if unknown := _UNDEFINED.fullmatch(str(error)):
        return f"`{unknown[1]}` is unknown; {hint(unknown[1], variables)}"
    if isinstance(error, TemplateNotFound):
        return f"there is no file of the name {error.name}"
    if isinstance(error, TemplateRuntimeError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _counted(number: int, one: str, many: str | None = None) -> str:
    """Write a number and its noun: `1 training`, `3,012 people`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _number(number: int) -> str:
    return f"{number:,}"
