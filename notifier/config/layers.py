"""Reads the inputs of the configuration: a TOML file, credential files and environment variables.

Each input becomes one or more layers, which pydantic-settings merges.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from notifier.config import introspection
from notifier.config.errors import ConfigError, InvalidValue, Problem, dotted
from notifier.config.paths import CONFIG_VARIABLE
from notifier.config.settings import Settings
from notifier.config.trust import why_untrusted_credential_file, why_untrusted_credentials_folder
from notifier.regular_files import describe_irregular
from notifier.suggest import TYPOGRAPHIC_QUOTES, nearest

PREFIX: Final = "NOTIFIER_"
INCLUDE_KEY: Final = "include"
"""The key that lists the patterns of the files to include."""

_LEVEL_SEPARATOR: Final = "__"
_KUBERNETES_VARIABLE: Final = re.compile(
    r"NOTIFIER_+(?:[A-Z0-9]+_+)*(?:"
    r"SERVICE_HOST=[0-9A-Fa-f.:]+"
    r"|SERVICE_PORT(?:_[A-Z0-9]+)*=[0-9]{1,5}"
    r"|PORT(?:_[0-9]{1,5}_(?:TCP|UDP|SCTP))?=(?:tcp|udp|sctp)://[0-9A-Fa-f.:\[\]]+"
    r"|PORT_[0-9]{1,5}_(?:TCP|UDP|SCTP)_(?:PROTO=(?:tcp|udp|sctp)|PORT=[0-9]{1,5}|ADDR=[0-9A-Fa-f.:]+)"
    r")"
)
"""Matches `NAME=VALUE` of a variable that Kubernetes sets for a Service (Kubernetes docs: Discovering services)."""

_TOML_POSITION: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class Layer(Struct, frozen=True):
    """Keys and values from one input, as nested tables.

    For a TOML file, `file` is its path. Otherwise, `origin` is the variable's name or the credential file's path.
    """

    values: dict[str, Any]
    origin: str | None = None
    file: Path | None = None
    is_included: bool = False

    def sets(self, path: Iterable[str | int]) -> bool:
        """Return whether this layer has a value at `path`, or a value other than a table on the way there."""
        value: Any = self.values
        for key in path:
            if not isinstance(value, dict):
                return True
            if key not in value:
                return False
            value = value[key]
        return True


def merge(layers: Iterable[Layer]) -> dict[str, Any]:
    """Return the merged values of `layers`, each of which overrides those after it. Nothing is validated."""
    sources = [layer.values for layer in layers]

    class Merged(BaseSettings):
        model_config = SettingsConfigDict(extra="allow")

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(InitSettingsSource(settings_cls, values) for values in sources)

    return Merged().model_extra or {}


def read_toml(file: Path, *, is_included: bool = False) -> Layer:
    """Return the layer of a TOML configuration file; `is_included` marks it as an included file. Raises ConfigError."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
        values = tomllib.loads(text)
    except OSError as error:
        is_forbidden = isinstance(error, PermissionError)
        remedy = "; let the user that runs this read it, or run this as root (sudo)" if is_forbidden else ""
        raise ConfigError([Problem(str(file), f"cannot be read: {error.strerror}{remedy}")]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([Problem(str(file), f"line {line}: is not UTF-8 text; save the file as UTF-8")]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(file), _toml_message(error, text))]) from None
    except (ValueError, RecursionError):
        message = "cannot be read as TOML: a number is too long, or tables are nested too deeply"
        raise ConfigError([Problem(str(file), message)]) from None
    return Layer(_resolve_paths(values, file.parent.absolute()), file=file, is_included=is_included)


def _resolve_paths(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return `values` with absolute paths: relative ones start from `folder`."""
    resolved: dict[str, Any] = introspection.resolve_paths(values, Settings, folder)
    if INCLUDE_KEY in values:
        # A `*`, `?` or `[` in the name of the folder itself stands for nothing else.
        kind = introspection.key_type(Settings, INCLUDE_KEY)
        resolved[INCLUDE_KEY] = introspection.resolve_paths(values[INCLUDE_KEY], kind, Path(escape(str(folder))))
    return resolved


def _toml_message(error: tomllib.TOMLDecodeError, text: str) -> str:
    sentence = str(error)
    position = _TOML_POSITION.search(sentence)
    if position is None:
        return f"is not valid TOML: {sentence}"
    what = sentence[: position.start()]
    where = f"line {position[1]}, column {position[2]}" if position[1] else "at its end"
    lines = text.splitlines()
    number = int(position[1]) if position[1] else len(lines)
    likely = _likely_toml_mistake(lines[number - 1]) if 0 < number <= len(lines) else ""
    return f"{where}: is not valid TOML: {what[:1].lower()}{what[1:]}{likely}"


def _likely_toml_mistake(line: str) -> str:
    """Return a sentence about the probable mistake in a line that is not valid TOML; "" if no known mistake fits."""
    _, equals, value = line.partition("=")
    value = value.strip()
    if any(quote in line for quote in TYPOGRAPHIC_QUOTES):
        return '; it contains typographic quotes: use straight ones, "..."'
    if equals and value.startswith('"') and "\\" in value:
        return "; a backslash in double quotes starts an escape: write a Windows path in single quotes, '...'"
    if (equals and value[:1].isalpha()) or value.startswith(("/", "\\")):
        return '; text must be in quotes, "..."'
    return ""


class _Variable(Struct, frozen=True):
    """An environment variable, or a credential file with the name of a variable."""

    name: str
    text: str
    origin: str


def read_environment(environ: Mapping[str, str], folder: Path) -> Iterator[Layer | Problem]:
    """Yield a layer or a problem for each `NOTIFIER_*` variable; each layer overrides those after it.

    Relative paths in values start from `folder`.
    """
    variables = [
        _Variable(name, text, name)
        for name, text in environ.items()
        if _has_prefix(name) and name != CONFIG_VARIABLE and not is_kubernetes_variable(name, text)
    ]
    return _read_variables(variables, folder)


def is_kubernetes_variable(name: str, text: str) -> bool:
    """Return whether Kubernetes has set this variable for a Service named `notifier...`.

    Such a variable sets no key.
    """
    return _KUBERNETES_VARIABLE.fullmatch(f"{name}={text}") is not None


def read_credentials(directory: Path, folder: Path) -> Iterator[Layer | Problem]:
    """Yield a layer or a problem for each credential file in a directory; each layer overrides those after it.

    A credential file has the name of a variable. Its content, without the last newline, is the value. Relative paths in
    values start from `folder`.
    """
    variables = []
    try:
        names = _credential_names(directory)
    except OSError as error:
        remedy = "; run this as root (sudo), or as its owner" if isinstance(error, PermissionError) else ""
        yield Problem(str(directory), f"the folder of credential files cannot be read: {error.strerror}{remedy}")
        return
    if reason := why_untrusted_credentials_folder(directory):
        yield Problem(str(directory), reason)
        return
    for name in names:
        file = directory / name
        if refused := describe_irregular(file) or why_untrusted_credential_file(file):
            yield Problem(str(file), refused)
            continue
        try:
            text = file.read_bytes().decode()
        except OSError as error:
            yield Problem(str(file), f"the credential file cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            yield Problem(str(file), "the credential file is not UTF-8 text")
        else:
            variables.append(_Variable(_without_systemd_prefix(name), re.sub(r"\r?\n\Z", "", text), str(file)))
    yield from _read_variables(variables, folder)


def credential_keys(directory: Path) -> tuple[str, ...]:
    """Return the dotted keys that the credential files in a directory set.

    Files that set no key are left out. For an unreadable directory, the result is empty. In both cases,
    `read_credentials` reports the problem.
    """
    keys = []
    with suppress(OSError):
        for name in _credential_names(directory):
            with suppress(InvalidValue):
                path, _ = _resolve_name(_without_systemd_prefix(name))
                keys.append(dotted(path))
    return tuple(keys)


def _credential_names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir() if _has_prefix(file.name))


def _without_systemd_prefix(name: str) -> str:
    """Return a credential file's name without the prefix that systemd adds when it loads a whole folder.

    With `LoadCredential=notifier:/etc/notifier/credentials`, systemd names a file `notifier_NOTIFIER_LOG__LEVEL`.
    """
    inner = name[len(PREFIX) :]
    return inner if _has_prefix(inner) else name


def variable_name(path: Iterable[str | int]) -> str:
    """Return the name of the variable that sets the key at a path. A credential file for the key has the same name."""
    return PREFIX + _LEVEL_SEPARATOR.join(str(key).upper().replace("-", "_") for key in path)


def _has_prefix(name: str) -> bool:
    return name.upper().startswith(PREFIX)


def _read_variables(variables: list[_Variable], folder: Path) -> Iterator[Layer | Problem]:
    readers: dict[tuple[str, ...], str] = {}
    # A variable for one key overrides a variable with a whole table in JSON.
    for variable in sorted(variables, key=lambda v: (-v.name.count(_LEVEL_SEPARATOR), v.name)):
        try:
            path, value = _read_variable(variable)
        except InvalidValue as error:
            yield Problem(variable.origin, str(error))
            continue
        first = readers.setdefault(path, variable.origin)
        if first == variable.origin:
            yield Layer(_resolve_paths(_nest(path, value), folder), variable.origin)
        else:
            yield Problem(variable.origin, f"means the same key as {first}; remove one of them")


def _nest(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    *above, key = path
    nested = {key: value}
    for outer in reversed(above):
        nested = {outer: nested}
    return nested


def _read_variable(variable: _Variable) -> tuple[tuple[str, ...], Any]:
    """Return the path of the key that a variable sets, and its value. Raises InvalidValue."""
    path, kind = _resolve_name(variable.name)
    return path, _decode(variable.text, kind)


def _resolve_name(name: str) -> tuple[tuple[str, ...], Any]:
    """Return the path of the key that a variable sets, and the key's type. Raises InvalidValue for an unknown key."""
    kind: Any = Settings
    path: list[str] = []
    for segment in name[len(PREFIX) :].lower().split(_LEVEL_SEPARATOR):
        key = _key_of_segment(segment, introspection.entry_type(kind))
        kind = introspection.key_type(kind, key) if segment else None
        if kind is None:
            raise InvalidValue(f"unknown key; {_advice_on_unknown_key(name)}")
        path.append(key)
    return tuple(path), kind


def _key_of_segment(segment: str, values: Any | None) -> str:
    """Return the key that one segment of a variable's name stands for; segments are separated by two underscores.

    If users choose the keys of the table, as in `sources`, `values` is the type of the table's values. For any other
    table, `values` is None.
    """
    if values is None:
        return segment
    return segment.replace("_", "-") if introspection.table_classes(values) else segment.replace("_", "-").title()


def _advice_on_unknown_key(name: str) -> str:
    """Return advice about an unknown variable: a similar known name or, if there is none, how variables are written."""
    written = name[len(PREFIX) :].lower()
    _, *below = written.split(_LEVEL_SEPARATOR)
    chosen = below[0] if len(below) > 1 else "name"
    likely = nearest(written, [_LEVEL_SEPARATOR.join(path) for path in _possible_paths(Settings, chosen)])
    if likely is not None:
        return f"did you mean `{PREFIX}{likely.upper()}`?"
    return f"variables are written like {PREFIX}SOURCES__NAME__TOKEN, two underscores between the levels"


def _possible_paths(kind: Any, chosen: str) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all keys that environment variables can set.

    `chosen` stands for keys that users choose, such as names.
    """
    below = [
        (key, introspection.key_type(kind, key))
        for table in introspection.table_classes(kind)
        for key in table.model_fields
    ]
    values = introspection.entry_type(kind)
    if values is not None:
        below.append((chosen, values))
    for key, kind_below in below:
        yield (key,)
        for path in _possible_paths(kind_below, chosen):
            yield (key, *path)


def _decode(text: str, kind: Any) -> Any:
    if not (introspection.takes_json(kind) and text.lstrip().startswith(("[", "{"))):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidValue(f"is not valid JSON (at character {error.pos + 1})") from None
    except (ValueError, RecursionError):
        raise InvalidValue("cannot be read as JSON: a number is too long, or it is nested too deeply") from None
