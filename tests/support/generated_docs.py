"""Generates parts of the documentation: `python -m tests.support.generated_docs` writes them again.

The reference of the commands is made from the program's help, the reference of the settings from the JSON Schema.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from notifier.cli.app import program
from notifier.cli.man_page import EXITS, command_contexts
from notifier.config.durations import PATTERN
from notifier.config.json_schema import schema

PAGES: Final = Path(__file__).parents[2] / "notifier" / "docs"
WRITE: Final = "python -m tests.support.generated_docs"
BEGIN: Final = f"<!-- begin: generated; `{WRITE}` writes it again -->"
END: Final = "<!-- end: generated -->"

_COMMON: Final = {option for parameter in program.params for option in parameter.opts} | {"--help"}


def references() -> Mapping[str, str]:
    """Return the generated part of each page that has one, by the page's file name."""
    return {"commands.md": "\n".join(_commands()), "configuration.md": "\n".join(_settings(schema())).rstrip()}


def on_page(page: str) -> str:
    """Return the generated part of a page, as it is in the file."""
    return (PAGES / page).read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip("\n")


def write() -> None:
    """Replace the generated part of each page, and leave the rest of the page unchanged."""
    for page, part in references().items():
        before, _, rest = (PAGES / page).read_text(encoding="utf-8").partition(BEGIN)
        text = f"{before}{BEGIN}\n{part}\n{END}{rest.partition(END)[2]}"
        (PAGES / page).write_text(text, encoding="utf-8")


def _commands() -> Iterator[str]:
    whole = click.Context(program, info_name="notifier", help_option_names=["-h", "--help"])
    yield from ("### Options of every command", "", "Each is accepted before the command's name and after it.", "")
    yield from _table(("option", "what it does"), _options(whole))
    for context in command_contexts(whole):
        yield from ("", *_command(context))
    yield from ("", "### Exit codes", "")
    yield from _table(("code", "means"), ((str(int(code)), text) for code, text in EXITS))


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    arguments = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    yield f"### `{' '.join([context.command_path, *arguments])}`"
    for paragraph in (command.help or "").split("\n\n"):
        yield from ("", " ".join(paragraph.split()))
    if rows := [*_options(context, _COMMON)]:
        yield from ("", *_table(("option", "what it does"), rows))
    examples = [line.strip() for line in (command.epilog or "").splitlines() if "notifier" in line]
    yield from ("", "```sh", *examples, "```")


def _options(context: click.Context, left_out: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    for parameter in context.command.get_params(context):
        if isinstance(parameter, click.Option) and not {*parameter.opts} & {*left_out}:
            record = parameter.get_help_record(context)
            assert record is not None
            yield f"`{record[0]}`", " ".join(record[1].split())


def _settings(configuration: Mapping[str, Any]) -> Iterator[str]:
    tables = _resolved(configuration["properties"], configuration["$defs"])
    for name in ("store", "log", "http", "alerts"):
        yield from _keys(f"[{name}]", tables[name]["description"], _rows(tables[name]))
    (source,) = tables["sources"]["patternProperties"].values()
    yield from _keys("[sources.NAME]", source["description"], _rows(source))
    (destination,) = tables["destinations"]["patternProperties"].values()
    types = {choice["if"]["properties"]["type"]["const"]: choice["then"] for choice in destination["allOf"]}
    yield from _destinations(types)


def _destinations(types: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of keys for each set of destination types that share keys; the keys of all types come first."""
    having: dict[tuple[str, ...], list[str]] = {}
    for type_, described in types.items():
        for row in _rows(described):
            having.setdefault(row, []).append(type_)
    for group in sorted({*map(tuple, having.values())}, key=lambda group: (-len(group), [*map([*types].index, group)])):
        heading = "[destinations.NAME]"
        text = "A receiver of events. These keys are the same for every type."
        if len(group) < len(types):
            heading += " with type = " + " or ".join(f'"{type_}"' for type_ in group)
            text = types[group[0]]["description"] if len(group) == 1 else "Keys that these types share."
        yield from _keys(heading, text, (row for row, them in having.items() if tuple(them) == group))


def _keys(heading: str, text: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield from (f"### `{heading}`", "", text, "")
    yield from (*_table(("key", "type", "default", "what it does"), rows), "")


def _rows(table: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, described in table["properties"].items():
        default = "required" if key in table.get("required", ()) else _default(described)
        yield f"`{key}`", _type(described), default, " ".join(described["description"].split())


def _resolved(described: Any, definitions: Mapping[str, Any]) -> Any:
    """Replace the references in a JSON Schema with their definitions. Keys beside a reference have priority."""
    if isinstance(described, list):
        return [_resolved(part, definitions) for part in described]
    if not isinstance(described, dict):
        return described
    parts = {name: _resolved(part, definitions) for name, part in described.items() if name != "$ref"}
    if "$ref" in described:
        return {**_resolved(definitions[described["$ref"].rpartition("/")[2]], definitions), **parts}
    return parts


def _default(described: Mapping[str, Any]) -> str:
    if "default" not in described:
        return "not set"
    return f"`{json.dumps(described['default'])}`"


def _type(described: Mapping[str, Any]) -> str:
    """Describe the allowed values of a setting in a few words."""
    match described:
        case {"anyOf": list(ways)}:
            return " or ".join(dict.fromkeys(_type(way) for way in ways))
        case {"enum": list(values)}:
            return ", ".join(f"`{json.dumps(value)}`" for value in values)
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}"
        case {"pattern": pattern}:
            return "duration" if pattern == PATTERN else f"string matching `{pattern}`"
        case {"type": "object"}:
            return "table"
        case {"type": list(types)}:
            return " or ".join(types)
    return f"{'secret ' if described.get('writeOnly') else ''}{described['type']}{_limits(described)}"


def _limits(described: Mapping[str, Any]) -> str:
    limits = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}
    return "".join(f", {words} {described[limit]}" for limit, words in limits.items() if limit in described)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        cells = " | ".join(cell.replace("|", r"\|") for cell in row)
        yield f"| {cells} |"


if __name__ == "__main__":
    write()
