"""Reads the settings from files, credentials and the environment, or reports every problem with them."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from pydantic import ValidationError

from notifier.config import likely_mistakes
from notifier.config.base_table import ValidationContext
from notifier.config.error_messages import explain
from notifier.config.errors import ConfigError, Problem
from notifier.config.included_files import UnmatchedPattern, included_file_defining, read_included
from notifier.config.layers import Layer, credential_keys, merge, read_credentials, read_environment, read_toml
from notifier.config.paths import (
    CREDENTIALS_VARIABLE,
    FILE_NAME,
    credentials_directory,
    find_file,
    usual_files,
    working_directory,
)
from notifier.config.secret_values import all_strings
from notifier.config.settings import Settings, StoreSettings
from notifier.config.trust import is_world_readable, is_world_searchable, why_untrusted
from notifier.privileges import is_root


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    secrets_dir: Path | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Read and check the configuration.

    Environment variables override credential files, which override the TOML file, which overrides the defaults.

    Args:
        path: The file that `--config` names. Without it, the first of `$NOTIFIER_CONFIG`, `./config.toml` and
        `/etc/notifier/config.toml`. The file may be missing if the other inputs configure a source.
        environ: The environment; by default the process's own.
        secrets_dir: The folder of credential files that `--secrets-dir` names. Without it, the folder in
        `$CREDENTIALS_DIRECTORY`; without that variable, the folder `credentials` beside a service's configuration in
        /etc/notifier.
        cwd: The base of relative paths outside the TOML file; by default the working directory.

    Raises:
        ConfigError: The configuration is wrong or missing; the error holds every problem that was found.
    """
    environ = os.environ if environ is None else environ
    cwd = working_directory() if cwd is None else cwd
    file = find_file(path, environ=environ, cwd=cwd)
    credentials = credentials_directory(secrets_dir, environ=environ, cwd=cwd, file=file)

    # Folders of other programs, such as Kubernetes, have the modes that those programs choose.
    typed_credentials = None if secrets_dir is not None or environ.get(CREDENTIALS_VARIABLE) else credentials

    found = list(_read(file, credentials, environ, cwd))
    layers = [item for item in found if isinstance(item, Layer)]
    problems = [item for item in found if isinstance(item, Problem)]
    unmatched = [item.key for item in found if isinstance(item, UnmatchedPattern)]
    if any(problem.key == str(credentials) for problem in problems):
        # No secret was read, so validation would report each of them as missing.
        raise ConfigError(problems)
    values = merge(layers)
    if file is None and not values.get("sources"):
        raise ConfigError([*problems, _missing_configuration(cwd)])
    try:
        settings = Settings.model_validate(values, context=validation_context(values, environ, file))
    except ValidationError as error:
        raise ConfigError([*problems, *_add_file_names(explain(error, layers), layers)]) from None
    if problems:
        raise ConfigError(problems)
    return settings.with_load_warnings(
        world_readable_files=_world_readable_files(settings, layers, typed_credentials), unmatched_patterns=unmatched
    )


def _add_file_names(problems: Iterable[Problem], layers: Sequence[Layer]) -> Iterator[Problem]:
    """Yield the problems. If an included file defines the table of a problem, the problem's message names the file."""
    for problem in problems:
        owner = included_file_defining(problem.key, layers)
        yield problem if owner is None else Problem(problem.key, f"{problem.message} (in {owner})")


def _world_readable_files(settings: Settings, layers: Iterable[Layer], credentials: Path | None) -> Iterator[Path]:
    """Yield each file that contains secrets and that every user of the machine can read.

    `credentials` is the folder of credential files to check; None to check no such files.
    """
    secrets = {secret for secret in settings.secrets() if likely_mistakes.of_secret(secret) is None}
    for layer in layers:
        file = layer.file or _credential_file(layer, credentials)
        if file is not None and is_world_readable(file) and not secrets.isdisjoint(all_strings(layer.values)):
            yield file


def _credential_file(layer: Layer, folder: Path | None) -> Path | None:
    """Return the credential file in `folder` that a layer was read from; None if the layer has another origin.

    Also returns None if only the owner and the group of `folder` can open the files in it.
    """
    if folder is None or layer.origin is None or not is_world_searchable(folder):
        return None
    file = Path(layer.origin)
    return file if file.parent == folder else None


class ConfiguredNames(Struct, frozen=True):
    """The names of sources and destinations that a configuration defines."""

    sources: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()


def configured_names(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    secrets_dir: Path | None = None,
    cwd: Path | None = None,
) -> ConfiguredNames:
    """Return the names of sources and destinations, even if their settings are wrong.

    The arguments are those of `load`. Raises ConfigError if the configuration file is unreadable or not trusted, or the
    working directory no longer exists.
    """
    environ = os.environ if environ is None else environ
    values = _readable_values(path, environ, secrets_dir, cwd)
    found = validation_context(values, environ)
    return ConfiguredNames(tuple(found.sources), tuple(found.destinations))


def locate_state_file(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    secrets_dir: Path | None = None,
    cwd: Path | None = None,
) -> Path:
    """Return the path of the state file, even if the rest of the configuration is wrong or incomplete.

    This function is for commands that only need to reach the daemon. Such a command may not see the whole
    configuration: for example, systemd passes no credentials to ExecReload=
    (https://github.com/systemd/systemd/issues/35227). The arguments are those of `load`.
    Raises ConfigError if the configuration file is unreadable or not trusted, or `store.path` is invalid.
    """
    environ = os.environ if environ is None else environ
    values = _readable_values(path, environ, secrets_dir, cwd)
    store = values.get("store", {})
    written = {"path": store["path"]} if isinstance(store, dict) and "path" in store else {}
    try:
        file = find_file(path, environ=environ, cwd=working_directory() if cwd is None else cwd)
        return StoreSettings.model_validate(written, context=validation_context(values, environ, file)).path
    except ValidationError:
        return load(path, environ=environ, secrets_dir=secrets_dir, cwd=cwd).store.path


def keys_from_systemd(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the dotted keys that systemd passed as credentials.

    Returns None if systemd passed no folder of credentials. The values of these keys cannot change while this process
    runs.
    """
    provided = environ.get(CREDENTIALS_VARIABLE)
    return credential_keys(Path(provided)) if provided else None


def _readable_values(
    path: Path | None, environ: Mapping[str, str], secrets_dir: Path | None, cwd: Path | None
) -> dict[str, Any]:
    """Return the merged values of all inputs. Raises ConfigError if the main file is unreadable or not trusted."""
    cwd = working_directory() if cwd is None else cwd
    file = find_file(path, environ=environ, cwd=cwd)
    credentials = credentials_directory(secrets_dir, environ=environ, cwd=cwd, file=file)
    return merge(item for item in _read(file, credentials, environ, cwd) if isinstance(item, Layer))


def _read(
    file: Path | None, credentials: Path | None, environ: Mapping[str, str], cwd: Path
) -> Iterator[Layer | Problem | UnmatchedPattern]:
    """Yield the layers of all inputs, the strongest first, and the problems with them.

    Raises ConfigError if the main `file` is unreadable or not trusted.
    """
    inputs = [*_read_inputs(file, credentials, environ, cwd)]
    included = [*read_included([item for item in inputs if isinstance(item, Layer)], file)]
    yield from (item for item in included if not isinstance(item, Layer))
    # No two files define the same name. The order of the files' layers therefore only decides the order in which names
    # are shown: the names of the weakest layer come first.
    above_main = len(inputs) - (file is not None)
    yield from inputs[:above_main]
    yield from (item for item in reversed(included) if isinstance(item, Layer))
    yield from inputs[above_main:]


def _read_inputs(
    file: Path | None, credentials: Path | None, environ: Mapping[str, str], cwd: Path
) -> Iterator[Layer | Problem]:
    """Yield the layers and problems of the environment, the credentials and the main file, without included files."""
    yield from read_environment(environ, cwd)
    if file is not None and (reason := why_untrusted(file)):
        # Nothing in this file is used, even if trusted layers set other keys: the file decides where secrets are sent.
        raise ConfigError([Problem(str(file), reason)])
    if credentials is not None:
        yield from read_credentials(credentials, cwd)
    if file is not None:
        yield read_toml(file)


def validation_context(
    values: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None
) -> ValidationContext:
    """Return the context for the validation of `values`: the environment, the file, and the names in `values`."""
    sources, destinations = values.get("sources"), values.get("destinations")
    return ValidationContext(
        environ=environ,
        sources=tuple(sources) if isinstance(sources, dict) else (),
        destinations=tuple(destinations) if isinstance(destinations, dict) else (),
        file=file,
    )


def _missing_configuration(cwd: Path) -> Problem:
    searched = " and ".join(map(str, usual_files(cwd)))
    local_file = cwd / FILE_NAME
    if is_root() and local_file.exists():
        searched += f" (root does not use {local_file} unless it is named: --config {local_file})"
    return Problem(
        "configuration",
        f"no configuration was found: looked for {searched}; `notifier init` writes one, or give its path with --config"
        " or $NOTIFIER_CONFIG; with NOTIFIER_SOURCES__NAME__TOKEN, no file is needed",
    )
