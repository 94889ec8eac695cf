"""The documentation: every page can be shown, every link leads somewhere, and every command in it exists."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from notifier.cli.app import program
from notifier.cli.man_page import command_contexts
from notifier.config.layers import read_environment
from tests.support.command_line import call
from tests.support.generated_docs import WRITE, on_page, references

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "notifier" / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [ROOT / "README.md", *PAGES, *sorted((ROOT / ".github").glob("*.md"))]
README_MAX_BYTES = 9_000


def anchors(text: str) -> set[str]:
    """Return the anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_stays_within_its_size_limit() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= README_MAX_BYTES


def test_help_lists_and_prints_each_topic() -> None:
    listed = call("help").out
    for page in PAGES:
        title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        assert re.search(rf"^{page.stem} +{re.escape(title)}$", listed, re.MULTILINE)
        assert call("help", page.stem).out == page.read_text(encoding="utf-8")


def test_help_prints_each_receiver_and_the_receivers_page_links_to_it() -> None:
    page = (DOCS / "receivers.md").read_text(encoding="utf-8")
    files = sorted((DOCS / "receivers").glob("*_receiver.*"))
    assert len(files) == 5
    for file in files:
        assert f"](receivers/{file.name})" in page
        assert call("help", f"receivers/{file.name}").out == file.read_text(encoding="utf-8")


def test_help_for_an_unknown_topic_names_the_nearest_one() -> None:
    output = call("help", "receiving-event")
    assert (output.code, "receiving-events" in output.err) == (2, True)


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_every_link_leads_to_a_file_and_a_heading(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for link in links:
        if re.match(r"(https?|mailto):", link):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_messages_name_the_command_deliveries_drop_with_the_option_yes() -> None:
    files = [file for ending in ("toml", "html", "yml") for file in (ROOT / "notifier").rglob(f"*.{ending}")]
    commands = [
        command
        for file in files
        for command in re.findall(r"notifier deliveries drop[^`<]*", file.read_text(encoding="utf-8"))
    ]
    assert len(commands) >= 10
    assert [command for command in commands if "--yes" not in command] == []


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_every_command_in_the_texts_exists_and_has_the_named_options(file: Path) -> None:
    text = re.sub(r"`\\\|", "|", file.read_text(encoding="utf-8"))
    for line in re.findall(r"`(?:sudo )?notifier ([^`\n]*)`", text):
        for words in _alternatives(line):
            _check(words, line)


def _alternatives(line: str) -> list[list[str]]:
    """Return the words of a command without brackets, ellipses and placeholders."""
    cleaned = re.sub(r"[\[\]]|\.\.\.|<[^>]*>", " ", line.replace("\\|", "|"))
    return [shlex.split(cleaned.replace("'", ""))]


def _check(words: list[str], line: str) -> None:
    known = {option for parameter in program.params for option in parameter.opts}
    command: click.Command = program
    context = click.Context(program)
    for word in words:
        if word.startswith("-"):
            name = word.partition("=")[0]
            assert name in known | {"--help", "--version", "-h"}, f"{name} of `notifier {line}`"
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None and command is program:
                assert word.isupper(), f"{word} of `notifier {line}`"
                return
            if found is not None:
                command = found
                known |= {option for parameter in command.params for option in parameter.opts}


def test_every_notifier_variable_in_the_texts_is_known() -> None:
    # A variable of a receiver may be set in the shell that `notifier` is then run in.
    receivers = sorted((DOCS / "receivers").glob("*_receiver.*"))
    for file in [ROOT / "README.md", *PAGES, *receivers]:
        for name in sorted(set(re.findall(r"\bNOTIFIER_\w+", file.read_text(encoding="utf-8")))):
            found = list(read_environment({name: ""}, ROOT))
            is_link = name in {"NOTIFIER_PORT", "NOTIFIER_SERVICE_HOST"}  # those that Kubernetes sets
            assert is_link or not any("unknown key" in str(one) for one in found), f"{name} in {file.name}"


def test_every_json_block_in_the_texts_is_valid_json() -> None:
    for file in TEXTS:
        for block in re.findall(r"^```json\n(.*?)^```", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            json.loads(block)


def test_the_generated_part_of_a_page_is_up_to_date() -> None:
    for page, part in references().items():
        assert on_page(page) == part, f"{page}: write it again: {WRITE}"


def test_help_of_each_option_with_a_default_names_the_default() -> None:
    for context in command_contexts(click.Context(program, info_name="notifier")):
        for parameter in context.command.params:
            default = parameter.get_default(context)
            if isinstance(parameter, click.Option) and not parameter.is_flag and isinstance(default, str | int | Path):
                record = parameter.get_help_record(context)
                assert record is not None
                assert f"default: {default}" in record[1], f"{context.command_path} {parameter.opts}"
