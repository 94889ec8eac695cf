"""Reads the files that a configuration includes: more sources and destinations, for example one file per customer."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from notifier.config.errors import ConfigError, Problem, dotted
from notifier.config.layers import INCLUDE_KEY, Layer, read_toml
from notifier.config.trust import why_untrusted
from notifier.regular_files import describe_irregular

_SHARED: Final = ("sources", "destinations")
"""The tables that an included file may have."""

_ESCAPED: Final = re.compile(r"\[([*?[])\]")
"""Matches a wildcard character that `glob.escape` has escaped."""


class UnmatchedPattern(Struct, frozen=True):
    """A pattern in `include` that matches no file. `key` is its place in the configuration, such as `include[0]`."""

    key: str


def read_included(layers: Iterable[Layer], main: Path | None) -> Iterator[Layer | Problem | UnmatchedPattern]:
    """Yield the layer of each included file, and the problems with files and patterns.

    The patterns are the value of `include` in the first of `layers` that has this key. The main configuration file,
    `main`, is never included. A source or destination in two files is a problem, because neither file overrides the
    other.
    """
    layers = [*layers]
    owners = {place: layer.file for layer in layers if layer.file is not None for place in _defined_names(layer.values)}
    seen = set() if main is None else {os.path.realpath(main)}
    for index, pattern in enumerate(_patterns(layers)):
        key = dotted((INCLUDE_KEY, index))
        try:
            files = _matching_files(pattern)
        except OSError as error:
            yield Problem(key, f"the folder cannot be read: {error.strerror}")
            continue
        if not files:
            yield UnmatchedPattern(key) if _is_pattern(pattern) else Problem(key, "there is no such file")
        for file in files:
            if (real := os.path.realpath(file)) not in seen:
                seen.add(real)
                yield from _read_included_file(file, owners)


def included_file_defining(key: str, layers: Iterable[Layer]) -> Path | None:
    """Return the included file that defines the table of a dotted `key`; None if no included file defines it."""
    return next(
        (
            layer.file
            for layer in layers
            if layer.is_included
            for place in _defined_names(layer.values)
            if key == (table := dotted(place)) or key.startswith((f"{table}.", f"{table}["))
        ),
        None,
    )


def _patterns(layers: Iterable[Layer]) -> list[str]:
    written: Any = next((layer.values[INCLUDE_KEY] for layer in layers if INCLUDE_KEY in layer.values), [])
    # Validation reports a value that is not a list of texts.
    return [pattern for pattern in written if isinstance(pattern, str) and pattern] if isinstance(written, list) else []


def _matching_files(pattern: str) -> list[Path]:
    """Return the files that match a pattern, sorted. Raises OSError if a folder exists and cannot be read."""
    parts = Path(pattern).parts
    plain = [*takewhile(lambda part: not _is_pattern(part), parts)]
    start, rest = Path(*(_ESCAPED.sub(r"\1", part) for part in plain)), parts[len(plain) :]
    folder = start if rest else start.parent
    if len(rest) <= 1 and folder.is_dir():
        # glob() treats a folder that it may not read like an empty one.
        next(folder.iterdir(), None)
    if not rest:
        return [start] if os.path.lexists(start) and not start.is_dir() else []
    found = map(start.joinpath, sorted(glob(str(Path(*rest)), root_dir=start, recursive=True)))  # noqa: PTH207 - the pattern may have several parts
    return [file for file in found if not file.is_dir()]


def _is_pattern(path: str) -> bool:
    """Return whether a path contains an unescaped wildcard character."""
    return has_magic(_ESCAPED.sub("", path))


def _read_included_file(file: Path, owners: dict[tuple[str, str], Path]) -> Iterator[Layer | Problem]:
    if refused := describe_irregular(file) or why_untrusted(file):
        yield Problem(str(file), refused)
        return
    try:
        layer = read_toml(file, is_included=True)
    except ConfigError as error:
        yield from error.problems
        return
    for key, value in layer.values.items():
        if key not in _SHARED or not isinstance(value, dict):
            message = f"has `{key}`: an included file can only have tables [sources.NAME] and [destinations.NAME]"
            yield Problem(str(file), message)
    for place in _defined_names(layer.values):
        first = owners.setdefault(place, file)
        if first != file:
            yield Problem(str(file), f"defines {dotted(place)}, which {first} defines too; remove one of them")
    shared = {key: layer.values[key] for key in _SHARED if isinstance(layer.values.get(key), dict)}
    yield Layer(shared, file=file, is_included=True)


def _defined_names(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for table in _SHARED:
        named = values.get(table)
        if isinstance(named, dict):
            yield from ((table, name) for name in named)
