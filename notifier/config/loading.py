"""From files, credentials and environment to settings, or to everything that is wrong with them."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from notifier.config.explaining import explain
from notifier.config.layers import Layer, credential_keys, merge, read_credentials, read_environment, read_toml
from notifier.config.places import (
    CREDENTIALS_VARIABLE,
    credentials_directory,
    find_file,
    usual_files,
    working_directory,
)
from notifier.config.problems import ConfigError, Problem
from notifier.config.settings import Settings, StoreSettings
from notifier.config.tables import Surroundings


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    secrets_dir: Path | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Read the configuration: environment over credential files over the TOML file over defaults.

    Only settings that come from here are sure to name existing sources and destinations in each other.

    Args:
        path: The file that `--config` names; without it `$NOTIFIER_CONFIG`, `./config.toml` or
            `/etc/notifier/config.toml`, whichever comes first. No file at all is fine when there is a source without.
        environ: The environment, by default the process's own.
        secrets_dir: The folder of credential files that `--secrets-dir` names; without it `$CREDENTIALS_DIRECTORY`,
            without that what lies beside a service's configuration in /etc/notifier.
        cwd: What relative paths count from, those in the TOML file excepted; by default the working directory.

    Raises:
        ConfigError: The configuration is wrong or missing; it holds every problem that was found.
    """
    environ = os.environ if environ is None else environ
    cwd = working_directory() if cwd is None else cwd
    file = find_file(path, environ=environ, cwd=cwd)
    credentials = credentials_directory(secrets_dir, environ=environ, cwd=cwd, file=file)

    found = list(_read(file, credentials, environ, cwd))
    layers = [item for item in found if isinstance(item, Layer)]
    problems = [item for item in found if isinstance(item, Problem)]
    values = merge(layers)
    if file is None and not values.get("sources"):
        raise ConfigError([*problems, _nothing_found(cwd)])
    try:
        settings = Settings.model_validate(values, context=surroundings(values, environ))
    except ValidationError as error:
        raise ConfigError([*problems, *explain(error, layers)]) from None
    if problems:
        raise ConfigError(problems)
    return settings


@dataclass(frozen=True, slots=True)
class ConfiguredNames:
    """The names that a configuration gives."""

    sources: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()


def configured_names(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    secrets_dir: Path | None = None,
    cwd: Path | None = None,
) -> ConfiguredNames:
    """Read the names of sources and destinations, as far as they can be read; the arguments are those of `load`.

    Raises ConfigError when the working directory is gone.
    """
    environ = os.environ if environ is None else environ
    values = _readable(path, environ, secrets_dir, cwd)
    found = surroundings(values, environ)
    return ConfiguredNames(tuple(found.sources), tuple(found.destinations))


def locate_state_file(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    secrets_dir: Path | None = None,
    cwd: Path | None = None,
) -> Path:
    """Return where the state file lies, whatever else may be wrong with the configuration, or missing in it.

    For who only looks for the daemon that has read it already, and who may have read more than we can: a command of
    systemd's ExecReload= has no credentials (https://github.com/systemd/systemd/issues/35227). The arguments are those
    of `load`. Raises ConfigError when the file cannot be read, or names no such place.
    """
    environ = os.environ if environ is None else environ
    values = _readable(path, environ, secrets_dir, cwd)
    store = values.get("store", {})
    written = {"path": store["path"]} if isinstance(store, dict) and "path" in store else {}
    try:
        return StoreSettings.model_validate(written, context=surroundings(values, environ)).path
    except ValidationError:
        return load(path, environ=environ, secrets_dir=secrets_dir, cwd=cwd).store.path


def handed_over(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the keys that systemd has handed over as credentials, for as long as this process lives; else None."""
    provided = environ.get(CREDENTIALS_VARIABLE)
    return credential_keys(Path(provided)) if provided else None


def _readable(
    path: Path | None, environ: Mapping[str, str], secrets_dir: Path | None, cwd: Path | None
) -> dict[str, Any]:
    """Return what can be read of a configuration, whatever is wrong with the rest."""
    cwd = working_directory() if cwd is None else cwd
    file = find_file(path, environ=environ, cwd=cwd)
    credentials = credentials_directory(secrets_dir, environ=environ, cwd=cwd, file=file)
    return merge(item for item in _read(file, credentials, environ, cwd) if isinstance(item, Layer))


def _read(
    file: Path | None, credentials: Path | None, environ: Mapping[str, str], cwd: Path
) -> Iterator[Layer | Problem]:
    """Read everything there is, the strongest first."""
    yield from read_environment(environ, cwd)
    if credentials is not None:
        yield from read_credentials(credentials, cwd)
    if file is not None:
        yield read_toml(file)


def surroundings(values: Mapping[str, Any], environ: Mapping[str, str]) -> Surroundings:
    """Return what the reading of these values depends on besides them."""
    sources, destinations = values.get("sources"), values.get("destinations")
    return Surroundings(
        environ=environ,
        sources=tuple(sources) if isinstance(sources, dict) else (),
        destinations=tuple(destinations) if isinstance(destinations, dict) else (),
    )


def _nothing_found(cwd: Path) -> Problem:
    places = " and ".join(map(str, usual_files(cwd)))
    return Problem(
        "configuration",
        f"there is none: looked for {places}; `notifier init` writes one, or name one with --config or "
        "$NOTIFIER_CONFIG; "
        "NOTIFIER_SOURCES__NAME__TOKEN does without",
    )
