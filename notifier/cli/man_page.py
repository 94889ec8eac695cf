"""Makes the manual page notifier(1) from the help texts of the commands, as troff with the man macros."""

import re
import textwrap
from collections.abc import Collection, Iterable, Iterator
from typing import Final

import click

from notifier import __version__
from notifier.cli.app import program
from notifier.cli.errors import ExitCode
from notifier.config.paths import CONFIG_VARIABLE, FILE_NAME, STATE_FILE_NAME, SYSTEM_FILE

_WIDTH: Final = 79
_GLOBAL_OPTIONS: Final = {option for parameter in program.params for option in parameter.opts} | {"--help"}

_ABOUT: Final = (
    (
        "KPA Flex (formerly KPA EHS, iScout) records which employee completed which training, but has no webhooks."
        " Completion Notifier adds them: a daemon watches the list of completed trainings and notifies Slack"
        " channels and HTTP endpoints of every new, changed and removed completion."
    ),
    (
        "The id of an event never changes, and each event is delivered to each of its destinations at least once."
        " `notifier run` is the daemon. The other commands set it up, query it, or do its work when it is not"
        " running."
    ),
    (
        "On a terminal, commands print formatted tables and progress. In a pipe, tables are plain text. `--json`"
        " prints JSON, one object a line. Colours are used only on a terminal, and not if NO_COLOR is set."
    ),
)
EXITS: Final = (
    (ExitCode.DONE, "Success, also if there was nothing to do."),
    (ExitCode.FAILED, "Failure; one sentence on standard error says what failed, and what to do."),
    (ExitCode.WRONG_USAGE, "Wrong usage, including unknown names of sources, destinations, records and events."),
    (
        ExitCode.WRONG_CONFIGURATION,
        "The configuration is wrong or missing. systemd does not restart the service after it.",
    ),
    (ExitCode.INTERRUPTED, "Ended by Ctrl-C; `run`, `sandbox`, `listen` and `receive` exit with 0 instead."),
)
_FILES: Final = (
    (f"./{FILE_NAME}, {SYSTEM_FILE}", f"The configuration, if neither `--config` nor ${CONFIG_VARIABLE} names one."),
    (
        (
            f"$STATE_DIRECTORY/{STATE_FILE_NAME}, /var/lib/notifier/{STATE_FILE_NAME},"
            f" $XDG_STATE_HOME/notifier/{STATE_FILE_NAME}, ~/.local/state/notifier/{STATE_FILE_NAME}"
        ),
        "The state file, if `[store] path` does not name one: an SQLite database with all data.",
    ),
    (
        f"{STATE_FILE_NAME}.sock",
        "Beside the state file: the socket on which the running daemon answers commands of its own user.",
    ),
)
_ENVIRONMENT: Final = (
    (CONFIG_VARIABLE, "The configuration file, if `--config` does not name one."),
    (
        "NOTIFIER_SOURCES__ACME__TOKEN and the like",
        (
            "Any key of the configuration. Two underscores separate the levels, and one underscore stands for the"
            " hyphen of a name; case does not matter, and lists and tables are JSON. Variables override credential"
            " files, and those override the configuration file."
        ),
    ),
    (
        "CREDENTIALS_DIRECTORY",
        (
            "A folder of files with such names, each with one value: the place for secrets, as systemd provides it"
            " (LoadCredential=). `--secrets-dir` names another folder."
        ),
    ),
    ("STATE_DIRECTORY, XDG_STATE_HOME", "The place of the state file; see FILES."),
    ("JOURNAL_STREAM", "Set by systemd: the log then contains the journal's priorities."),
    ("NO_COLOR", "If it is set, the output has no colours."),
)
_SIGNALS: Final = (
    ("SIGTERM, SIGINT", "`notifier run` exits within five seconds without losing anything."),
    ("SIGHUP", "`notifier run` reads its configuration again, like `notifier reload`."),
)
_EXAMPLES: Final = (
    ("Try the whole pipeline without any set-up:", "notifier demo"),
    ("Write a configuration, try it, send a sample, and start the daemon:", "notifier init"),
    ("", "notifier check --online"),
    ("", "notifier test safety-channel"),
    ("", "notifier run"),
    ("Find out what happened to record 1239 and where it was sent:", "notifier explain 1239"),
    ("Send dead deliveries again after the receiver was repaired:", "notifier retry --destination hr-system"),
    ("Follow detected events, as CloudEvents:", "notifier events --follow --json"),
)

_LEADING_CONTROL: Final = re.compile(r"^([.'])", re.MULTILINE)
_BACKTICKS: Final = re.compile(r"`([^`]+)`")


def page() -> str:
    """Return the source of the manual page."""
    return "\n".join(_page_lines()) + "\n"


def _page_lines() -> Iterator[str]:
    program_context = click.Context(program, info_name="notifier", help_option_names=["-h", "--help"])
    yield '.\\" Made by `notifier man` from the help of the commands.'
    yield f'.TH NOTIFIER 1 "" "Completion Notifier {__version__}" "User Commands"'
    summary = (program.help or "").rstrip(".")
    yield from (".SH NAME", rf"notifier \- {summary[:1].lower()}{summary[1:]}")
    yield from (".SH SYNOPSIS", r".B notifier", r"[\fIOPTION\fR]... \fICOMMAND\fR [\fIARGUMENT\fR]...")
    yield from (".SH DESCRIPTION", *_paragraphs(_ABOUT))
    yield from (".SH OPTIONS", "These are accepted before a command and after it.")
    yield from _options(program_context, set())
    yield ".SH COMMANDS"
    for context in command_contexts(program_context):
        yield from _command_section(context)
    yield from (".SH EXIT STATUS", *_tagged((str(int(code)), text) for code, text in EXITS))
    yield from (".SH FILES", *_tagged(_FILES))
    yield from (".SH ENVIRONMENT", *_tagged(_ENVIRONMENT))
    yield from (".SH SIGNALS", *_tagged(_SIGNALS))
    yield ".SH EXAMPLES"
    for number, (text, command) in enumerate(_EXAMPLES):
        if text:
            yield from ([".PP", _text(text)] if number else [_text(text)])
        yield from _code_block([command])
    yield from (".SH SEE ALSO", ".BR systemd.exec (5),", ".BR journalctl (1)")


def command_contexts(context: click.Context) -> Iterator[click.Context]:
    """Yield a context for each command of a group. The commands of a subgroup follow the subgroup."""
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is None:
                raise RuntimeError(f"there is no command {name}")
            below = click.Context(command, info_name=name, parent=context)
            yield below
            yield from command_contexts(below)


def _command_section(context: click.Context) -> Iterator[str]:
    command = context.command
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    yield f".SS {_verbatim(' '.join([context.command_path, *pieces]))}"
    yield from _paragraphs((command.help or "").split("\n\n"))
    yield from _options(context, _GLOBAL_OPTIONS)
    shown = [line.strip() for line in (command.epilog or "").splitlines() if line.strip().startswith("notifier")]
    if shown:
        yield from (".PP", "Examples:")
        yield from _code_block(shown)


def _options(context: click.Context, omitted: Collection[str]) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = None if {*parameter.opts} & {*omitted} else parameter.get_help_record(context)
        # Arguments have no help text of their own; the command's text describes them.
        if record is not None and record[1]:
            yield from _tagged([record])


def _tagged(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    for tag, text in entries:
        yield from (".TP", rf"\fB{_verbatim(tag)}\fR", _text(text))


def _paragraphs(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if number:
            yield ".PP"
        yield _text(" ".join(text.split()))


def _code_block(commands: Iterable[str]) -> Iterator[str]:
    yield from (".PP", ".RS 4", ".nf", *map(_verbatim, commands), ".fi", ".RE")


def _text(text: str) -> str:
    """Convert prose to troff in short lines. Text between backticks becomes bold and can be copied from the page."""
    pieces = _BACKTICKS.split(text.replace("\\", r"\e"))
    written = "".join(
        rf"\fB{_escape_for_copying(piece)}\fR" if number % 2 else _escape_option_hyphens(piece)
        for number, piece in enumerate(pieces)
    )
    return _LEADING_CONTROL.sub(
        r"\\&\1", textwrap.fill(written, _WIDTH, break_long_words=False, break_on_hyphens=False)
    )


def _verbatim(text: str) -> str:
    """Convert text to troff that shows every character unchanged, for commands that a reader may copy."""
    return _LEADING_CONTROL.sub(r"\\&\1", _escape_for_copying(text.replace("\\", r"\e")))


def _escape_for_copying(text: str) -> str:
    return text.replace("-", r"\-").replace("~", r"\(ti").replace("^", r"\(ha")


def _escape_option_hyphens(text: str) -> str:
    return re.sub(r"(?<![\w-])--[a-z-]+", lambda match: _escape_for_copying(match[0]), text).replace("~", r"\(ti")
