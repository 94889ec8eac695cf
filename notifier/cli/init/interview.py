"""Asks the questions of `notifier init` that are not answered by options."""

import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click
from msgspec.structs import replace

from notifier.cli.formatting import terminal_safe
from notifier.cli.init.draft import ConfigDraft, DestinationDraft, new_secret, problem_at
from notifier.config.source_settings import SourceSettings

BASE_URL: Final = str(SourceSettings.model_fields["base_url"].default)
_SECRET_BYTES: Final = 32

FindProblem = Callable[[str], str | None]
"""A function that returns the problem with an answer, or None if the answer is valid."""


class Interview:
    """Collects the answers of `notifier init`: from options or, if an option is missing, from the user."""

    def __init__(self, given: Mapping[str, Any], secrets_dir: Path | None) -> None:
        self._given = given
        self._is_interactive = is_interactive()
        self._secrets_dir = secrets_dir
        self._answers = ConfigDraft(source="kpa")
        self.has_secrets_in_file = True

    def collect_answers(self) -> ConfigDraft:
        """Take answers from the options, ask the user for the others, and return all answers.

        Raises UsageError if an option is invalid, or if an option is missing and there is no terminal to ask on. Raises
        click.Abort on Ctrl-C.
        """
        self._require_needed_options()
        self._ask_for("source", "A name for the account", ("sources",), default="kpa")
        self.has_secrets_in_file = self._wants_secrets_in_file()
        if self.has_secrets_in_file or self._secrets_dir is not None:
            self._ask_for("token", "Its API token (not shown)", ("sources", self._answers.source, "token"), hidden=True)
        self._ask_for("base_url", "The API's address", ("sources", self._answers.source, "base_url"), default=BASE_URL)
        if self._given["api"]:
            self._ask_for("api", "", ("sources", self._answers.source, "api"))
        self._answers = replace(
            self._answers, slack=self._ask_for_destination("slack", "The webhook URL of a Slack channel")
        )
        self._answers = replace(self._answers, http=self._ask_for_destination("http", "The URL of an HTTP endpoint"))
        if self._is_interactive or self._given["state_file"]:
            self._ask_for("state_file", "The path of the state file (Enter: its usual place)", ("store", "path"))
        return self._answers

    def wants_online_check(self) -> bool:
        """Return whether to try the token; ask the user if neither --check nor --no-check is given."""
        if not self._answers.token:
            return False
        wanted: bool | None = self._given["online"]
        if wanted is None:
            return self._is_interactive and confirm("Try the token now? Nothing is stored or sent")
        return wanted

    def _require_needed_options(self) -> None:
        given = self._given
        for kind in ("slack", "http"):
            if given[f"no_{kind}"] and (given[f"{kind}_url"] or given[f"{kind}_name"]):
                raise click.UsageError(f"--no-{kind} cannot be combined with --{kind}-url or --{kind}-name")
        if self._is_interactive:
            return
        missing = [f"--{kind}-url or --no-{kind}" for kind in ("slack", "http") if not _is_answered(given, kind)]
        if given["token"] is None and given["with_secrets"] is not False:
            missing.insert(0, "--token (or --no-secrets)")
        if missing:
            raise click.UsageError(f"there is no terminal to ask questions on: also give {', '.join(missing)}")

    def _wants_secrets_in_file(self) -> bool:
        wanted: bool | None = self._given["with_secrets"]
        if self._secrets_dir is not None:
            if wanted:
                raise click.UsageError("--secrets cannot be combined with --secrets-dir")
            return False
        if wanted is None:
            return not self._is_interactive or confirm(
                "Write the token and other secrets into the file, readable only by you?"
            )
        return wanted

    def _ask_for_destination(self, kind: str, question: str) -> DestinationDraft | None:
        """Ask for the URL and name of a destination of the type `kind`; return None if the user wants none."""
        if self._given[f"no_{kind}"]:
            return None
        name = self._given[f"{kind}_name"] or ("slack" if kind == "slack" else "webhook")
        answers = self._answers

        def url_problem(url: str) -> str | None:
            changed = _with_answer(answers, kind, DestinationDraft("new", url))
            return problem_at(changed, "destinations", "new", "url") if url else None

        hidden = kind == "slack"
        question = f"{question} (Enter: none{', not shown' if hidden else ''})"
        url = self._option_or_answer(f"{kind}_url", question, url_problem, hidden=hidden)
        if not url:
            return None

        def name_problem(name: str) -> str | None:
            if answers.slack is not None and answers.slack.name == name:
                return "the Slack channel already has this name"
            return problem_at(_with_answer(answers, kind, DestinationDraft(name, url)), "destinations", name)

        name = self._option_or_answer(f"{kind}_name", "A name for it", name_problem, default=name)
        return DestinationDraft(name, url, new_secret(secrets.token_bytes(_SECRET_BYTES)) if kind == "http" else "")

    def _ask_for(
        self, key: str, question: str, path: tuple[str, ...], *, default: str = "", hidden: bool = False
    ) -> None:
        def find_problem(answer: str) -> str | None:
            if not answer and path[-1] == "token":
                return "must not be empty"
            return problem_at(_with_answer(self._answers, key, answer), *path)

        answer = self._option_or_answer(key, question, find_problem, default=default, hidden=hidden)
        self._answers = _with_answer(self._answers, key, answer)

    def _option_or_answer(
        self, key: str, question: str, find_problem: FindProblem, *, default: str = "", hidden: bool = False
    ) -> str:
        """Return the value of the option `key` or, if the option was not given, the user's answer to `question`.

        Without a terminal, the user is not asked: an option that was not given has the value `default`. Raises
        UsageError if `find_problem` finds a problem with the option or the default.
        """
        given: str | None = self._given[key]
        if given is None and self._is_interactive:
            return ask(question, find_problem, default=default, hidden=hidden)
        answer = default if given is None else given
        if reason := find_problem(answer):
            raise click.UsageError(f"--{key.replace('_', '-')}: {reason}")
        return answer


def _with_answer(answers: ConfigDraft, key: str, answer: Any) -> ConfigDraft:
    changed: dict[str, Any] = {key: answer}
    return replace(answers, **changed)


def _is_answered(given: Mapping[str, Any], kind: str) -> bool:
    return given[f"no_{kind}"] or given[f"{kind}_url"] is not None


def is_interactive() -> bool:
    """Return whether the user can answer questions: whether standard input and standard error are terminals.

    Questions are written to standard error, so that standard output can be redirected.
    """
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def ask(question: str, find_problem: FindProblem, *, default: str = "", hidden: bool = False) -> str:
    """Ask for a line of text, again and again until `find_problem` accepts the answer.

    Enter alone means `default`. With `hidden`, the input is not shown. Raises click.Abort on Ctrl-C and at the end of
    the input.
    """
    while True:
        typed: str = click.prompt(question, default=default, show_default=bool(default), hide_input=hidden, err=True)
        answer = typed.strip()
        reason = find_problem(answer)
        if reason is None:
            return answer
        click.echo(f"  That cannot be used: {terminal_safe(reason)}", err=True)


def confirm(question: str) -> bool:
    """Ask a question; return whether the answer is yes. Raises click.Abort on Ctrl-C and at the end of the input."""
    return click.confirm(question, default=True, err=True)
