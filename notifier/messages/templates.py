"""Renders the text of messages from Jinja templates: the user's own template if there is one, else the shipped one.

A template determines only the words of a line. Input and output are plain text; filters such as `{{ person | bold }}`
are the only formatting. If a user's template fails, this is reported and the shipped one is used, so that no event
waits.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from notifier.config.message_values import Language
from notifier.messages.bounded_rendering import BoundedRenderer, TemplateProblemError
from notifier.messages.rendering import TemplateProblem, make_environment, render_lines
from notifier.messages.rich_text import Line, parse_spans
from notifier.messages.template_names import SUFFIX, Template, Variables
from notifier.regular_files import describe_irregular

_FOLDER: Final = Path(__file__).parent / "shipped"

SHIPPED: Final = {
    language: {file.name: file.read_text(encoding="utf-8") for file in (_FOLDER / language.value).glob("*" + SUFFIX)}
    for language in Language
}
"""The shipped templates of each language, by file name. They are read at import, so that a running daemon
does not get the templates of another version when the package is upgraded.
"""

Report = Callable[[TemplateProblem], None]


class Templates:
    """The templates for messages to one destination."""

    def __init__(self, folder: Path | None, report: Report, language: Language = Language.EN) -> None:
        """Read the user's templates from `folder`.

        For missing files, or without a folder, use the shipped templates. Each time that a problem
        occurs, `report` is called with the problem. The folder is not read again.
        """
        own = {} if folder is None else dict(_read_templates(folder, report))
        shipped = SHIPPED[language]
        self._own = BoundedRenderer({**shipped, **own}) if own else None
        self._environment = make_environment(shipped)
        self._report = report
        self.shipped: Templates | None = Templates(None, report, language) if own else None
        """The shipped templates alone, if this object also has templates of the user; otherwise None."""

    def report(self, description: str) -> None:
        """Report a problem of a whole message, which no single template has caused."""
        self._report(TemplateProblem("", None, description))

    def line(self, template: Template, variables: Variables) -> Line:
        """Return the line that a template renders, split into spans."""
        return parse_spans(self.marked_line(template, variables))

    def marked_line(self, template: Template, variables: Variables) -> str:
        """Return the line that a template renders, with formatting marks, as a value for another template."""
        return " ".join(self.lines(template, variables))

    def lines(self, template: Template, variables: Variables) -> list[str]:
        """Return the lines that a template renders, with formatting marks.

        `Template.DIGEST` renders one or more lines, and any other template one line. No line is empty.
        """
        if self._own is not None:
            try:
                return self._own.lines(template, variables)
            except TemplateProblemError as error:
                self._report(error.problem)
        return render_lines(self._environment, template, variables)

    @property
    def may_block(self) -> bool:
        """Whether rendering may take so long that it must not run on the event loop."""
        return self._own is not None

    def close(self) -> None:
        """End the process that renders the user's own templates. The next template starts a new process."""
        if self._own is not None:
            self._own.close()


def _read_templates(folder: Path, report: Report) -> Iterator[tuple[str, str]]:
    try:
        files = sorted(folder.glob("*" + SUFFIX))
    except OSError as error:
        report(TemplateProblem("", None, f"the folder cannot be read: {error.strerror}"))
        return
    for file in files:
        if kind := describe_irregular(file):
            report(TemplateProblem(file.name, None, kind))
            continue
        try:
            yield file.name, file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            report(TemplateProblem(file.name, None, "is not text in UTF-8"))
        except OSError as error:
            report(TemplateProblem(file.name, None, f"cannot be read: {error.strerror}"))
