"""Where the configuration comes from: a TOML file, files of credentials, variables of the environment.

Each is read into layers, which pydantic-settings lays over each other.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from notifier.config import shape
from notifier.config.places import CONFIG_VARIABLE
from notifier.config.problems import ConfigError, Problem, Wrong, dotted
from notifier.config.settings import Settings
from notifier.config.suggestions import nearest

PREFIX: Final = "NOTIFIER_"
_LEVELS: Final = "__"
_TOML_POSITION: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Layer:
    """Some keys and their values, as nested tables; `origin` is the variable or file they come from, if it is one."""

    values: dict[str, Any]
    origin: str | None = None

    def holds(self, path: Iterable[str | int]) -> bool:
        """Tell whether the value at a path is from here, or inside one that is."""
        value: Any = self.values
        for key in path:
            if not isinstance(value, dict):
                return True
            if key not in value:
                return False
            value = value[key]
        return True


def merge(layers: Iterable[Layer]) -> dict[str, Any]:
    """Lay layers over each other, the first on top, as pydantic-settings does it; nothing is validated yet."""
    sources = [layer.values for layer in layers]

    class Merged(BaseSettings):
        model_config = SettingsConfigDict(extra="allow")

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(InitSettingsSource(settings_cls, values) for values in sources)

    return Merged().model_extra or {}


def read_toml(file: Path) -> Layer:
    """Read a configuration file. Raises ConfigError."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
        values = tomllib.loads(text)
    except OSError as error:
        raise ConfigError([Problem(str(file), f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([Problem(str(file), f"line {line}: is not UTF-8 text; save the file as UTF-8")]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(file), _toml_message(error))]) from None
    except (ValueError, RecursionError):
        message = "is not TOML that can be read: a number is too long, or tables are nested too deeply"
        raise ConfigError([Problem(str(file), message)]) from None
    return Layer(shape.anchored(values, Settings, file.parent.absolute()))


def _toml_message(error: tomllib.TOMLDecodeError) -> str:
    sentence = str(error)
    position = _TOML_POSITION.search(sentence)
    if position is None:
        return f"is not valid TOML: {sentence}"
    what = sentence[: position.start()]
    where = f"line {position[1]}, column {position[2]}" if position[1] else "at its end"
    return f"{where}: is not valid TOML: {what[:1].lower()}{what[1:]}"


@dataclass(frozen=True, slots=True)
class _Variable:
    """A variable of the environment, or a credential file, which is named like one."""

    name: str
    text: str
    origin: str


def read_environment(environ: Mapping[str, str], folder: Path) -> Iterator[Layer | Problem]:
    """Read the variables that begin with NOTIFIER_, the strongest first; relative paths count from `folder`."""
    variables = [
        _Variable(name, text, name) for name, text in environ.items() if _is_ours(name) and name != CONFIG_VARIABLE
    ]
    return _read_variables(variables, folder)


def read_credentials(directory: Path, folder: Path) -> Iterator[Layer | Problem]:
    """Read the files that are named like variables, the strongest first; one trailing newline is not part of them."""
    variables = []
    try:
        names = _credential_names(directory)
    except OSError as error:
        remedy = "; run this as root (sudo), or as the one whose it is" if isinstance(error, PermissionError) else ""
        yield Problem(str(directory), f"the folder of credential files cannot be read: {error.strerror}{remedy}")
        return
    for name in names:
        file = directory / name
        try:
            text = file.read_bytes().decode()
        except OSError as error:
            yield Problem(str(file), f"the credential file cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            yield Problem(str(file), "the credential file is not UTF-8 text")
        else:
            variables.append(_Variable(_without_folder(name), re.sub(r"\r?\n\Z", "", text), str(file)))
    yield from _read_variables(variables, folder)


def credential_keys(directory: Path) -> tuple[str, ...]:
    """Return the keys that the credential files in a folder stand for, as they are dotted in problems.

    Files that stand for none are left out, and so is a folder that cannot be read: reading them tells what is wrong.
    """
    keys = []
    with suppress(OSError):
        for name in _credential_names(directory):
            with suppress(Wrong):
                path, _ = _resolve(_without_folder(name))
                keys.append(dotted(path))
    return tuple(keys)


def _credential_names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir() if _is_ours(file.name))


def _without_folder(name: str) -> str:
    """Return the name that a credential had before systemd loaded it with its folder: `notifier_NOTIFIER_LOG__LEVEL`.

    Of a folder (`LoadCredential=notifier:/etc/notifier/credentials`), systemd puts the name before each file's.
    """
    inner = name[len(PREFIX) :]
    return inner if _is_ours(inner) else name


def variable_name(path: Iterable[str | int]) -> str:
    """Return the variable that stands for a key; credential files have the same names."""
    return PREFIX + _LEVELS.join(str(key).upper().replace("-", "_") for key in path)


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX)


def _read_variables(variables: list[_Variable], folder: Path) -> Iterator[Layer | Problem]:
    readers: dict[tuple[str, ...], str] = {}
    # A variable for one key is stronger than one whose JSON holds a whole table.
    for variable in sorted(variables, key=lambda v: (-v.name.count(_LEVELS), v.name)):
        try:
            path, value = _read_variable(variable)
        except Wrong as error:
            yield Problem(variable.origin, str(error))
            continue
        first = readers.setdefault(path, variable.origin)
        if first == variable.origin:
            yield Layer(shape.anchored(_nested(path, value), Settings, folder), variable.origin)
        else:
            yield Problem(variable.origin, f"means the same key as {first}; remove one of them")


def _nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    *above, key = path
    nested = {key: value}
    for outer in reversed(above):
        nested = {outer: nested}
    return nested


def _read_variable(variable: _Variable) -> tuple[tuple[str, ...], Any]:
    """Return the path of the key that a variable means, and its value. Raises Wrong."""
    path, kind = _resolve(variable.name)
    return path, _decode(variable.text, kind)


def _resolve(name: str) -> tuple[tuple[str, ...], Any]:
    """Return the path of the key that a variable means, and the key's type. Raises Wrong when there is no such key."""
    kind: Any = Settings
    path: list[str] = []
    for segment in name[len(PREFIX) :].lower().split(_LEVELS):
        key = _free_key(segment, shape.entries(kind))
        kind = shape.child(kind, key) if segment else None
        if kind is None:
            raise Wrong(f"unknown key; {_meant(name)}")
        path.append(key)
    return tuple(path), kind


def _free_key(segment: str, values: Any | None) -> str:
    """Write a key as it must have been meant, if it can be chosen freely: a source's name, or a header's."""
    if values is None:
        return segment
    return segment.replace("_", "-") if shape.tables(values) else segment.replace("_", "-").title()


def _meant(name: str) -> str:
    """Say which variable was probably meant, else how variables are written."""
    written = name[len(PREFIX) :].lower()
    _, *below = written.split(_LEVELS)
    chosen = below[0] if len(below) > 1 else "name"
    likely = nearest(written, [_LEVELS.join(path) for path in _possible(Settings, chosen)])
    if likely is not None:
        return f"did you mean `{PREFIX}{likely.upper()}`?"
    return f"variables are written like {PREFIX}SOURCES__NAME__TOKEN, two underscores between the levels"


def _possible(kind: Any, chosen: str) -> Iterator[tuple[str, ...]]:
    """Yield the paths that variables can mean; `chosen` stands for every key that can be chosen freely."""
    below = [(key, shape.child(kind, key)) for table in shape.tables(kind) for key in table.model_fields]
    values = shape.entries(kind)
    if values is not None:
        below.append((chosen, values))
    for key, kind_below in below:
        yield (key,)
        for path in _possible(kind_below, chosen):
            yield (key, *path)


def _decode(text: str, kind: Any) -> Any:
    if not (shape.takes_json(kind) and text.lstrip().startswith(("[", "{"))):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Wrong(f"is not valid JSON (at character {error.pos + 1})") from None
    except (ValueError, RecursionError):
        raise Wrong("is not JSON that can be read: a number is too long, or it is nested too deeply") from None
