"""Reads the configuration for commands, and reports problems with the configuration as errors of the command."""

import os
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

import notifier
from notifier import config, log, privileges
from notifier.cli.errors import CommandError, ConfigurationError, NameNotFoundError
from notifier.cli.global_options import GlobalOptions
from notifier.config import ConfigError, MessageSettings, Problem, Settings, find_file, load
from notifier.config.paths import default_state_file, working_directory
from notifier.daemon.socket_path import socket_path
from notifier.http.proxy import proxy_secrets
from notifier.redact import remember_secrets
from notifier.suggest import hint

_CONNECT_SECONDS: Final = 1.0


def load_settings(global_options: GlobalOptions) -> Settings:
    """Read the configuration and check the templates that it names. Raises ConfigError, which lists every problem."""
    settings = load(global_options.config, secrets_dir=global_options.secrets_dir)
    remember_secrets((*settings.secrets(), *proxy_secrets(os.environ)))
    if problems := tuple(_template_problems(settings)):
        raise ConfigError(problems)
    return settings


def _template_problems(settings: Settings) -> Iterator[Problem]:
    if any(isinstance(one, MessageSettings) and one.templates is not None for one in settings.destinations.values()):
        # Imported only here, because most commands need neither the template engine nor the destination types.
        from notifier.destinations.registry import destination_type  # noqa: PLC0415
        from notifier.messages.template_check import problems  # noqa: PLC0415

        yield from problems(settings.destinations, lambda one: destination_type(one).fits)


def read_settings(global_options: GlobalOptions) -> Settings:
    """Read the configuration; if this process is root, switch to the user that owns the state file.

    Raises ConfigurationError, which lists every problem, and CommandError if the user cannot be switched.
    """
    settings = read_settings_as_caller(global_options)
    switch_to_owner_of(settings.store.path)
    return settings


def read_settings_as_caller(global_options: GlobalOptions) -> Settings:
    """Read the configuration without switching the user, for commands that also use files of the caller.

    Raises ConfigurationError, which lists every problem.
    """
    with _as_configuration_error():
        return load_settings(global_options)


def owner_to_become(state_file: Path) -> privileges.Owner | None:
    """Return the user that root should become before it uses the state file; None if no switch is needed.

    Raises CommandError if root is not allowed to become that user, as in a container without capabilities.
    """
    owner = privileges.owner_to_become(state_file)
    if owner is not None:
        try:
            with privileges.acting_as(owner):
                pass
        except OSError as error:
            raise CommandError(
                f"the state file {state_file} belongs to {owner}, and root may not become that user here"
                f" ({error.strerror}): run this as {owner}, or make root the owner of its folder"
            ) from error
    return owner


def switch_to_owner_of(state_file: Path) -> None:
    """If this process is root and another user owns the state file, become that user until the process ends.

    Raises CommandError if this process is not allowed to become that user, or if that user cannot read this program's
    modules.
    """
    owner = owner_to_become(state_file)
    if owner is None:
        return
    # Modules that are imported later are read as this user.
    for file in (Path(notifier.__file__), Path(click.__file__), Path(os.__file__)):
        if not privileges.can_access(file, owner, os.R_OK):
            raise CommandError(
                f"the state file {state_file} belongs to {owner}, who cannot read this program ({file.parent}):"
                " install it where every user can run it"
            )
    privileges.become(owner, state_file)


def settings_and_state_file(global_options: GlobalOptions) -> tuple[Settings | None, Path]:
    """Read the configuration, for a command that queries a running daemon.

    Returns the settings and the path of the state file. If the configuration is wrong but a daemon is running, the
    settings are None: the daemon still uses an earlier, valid configuration. If the configuration is wrong and no
    daemon is running, raises ConfigurationError.
    """
    try:
        settings = read_settings(global_options)
    except ConfigurationError as wrong:
        try:
            state_file = locate_state_file(global_options)
        except ConfigurationError:
            raise wrong from None
        if not _is_listening(socket_path(state_file)):
            raise
        click.echo(
            f"The configuration is wrong: {wrong.message}\nThis asks the running daemon, which still uses the"
            " previous configuration.",
            err=True,
        )
        return None, state_file
    return settings, settings.store.path


def _is_listening(socket_file: Path) -> bool:
    """Return whether a process accepts connections on this Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_CONNECT_SECONDS)
        try:
            client.connect(str(socket_file))
        except OSError:
            return False
    return True


def locate_state_file(global_options: GlobalOptions) -> Path:
    """Return the path of the state file, even if other settings are wrong.

    If this process is root, also switch to the user that owns the file. Raises ConfigurationError, CommandError.
    """
    with _as_configuration_error():
        found = config.locate_state_file(global_options.config, secrets_dir=global_options.secrets_dir)
    switch_to_owner_of(found)
    return found


def locate_daemon(global_options: GlobalOptions) -> tuple[Path, ConfigurationError | None]:
    """Return the path of the state file, and the error if this path cannot be read from the configuration.

    Without an error, the second value is None. After an error, the default path is returned, because a daemon that was
    started with a valid configuration may use this path. If this process is root, it becomes the user that owns the
    file.

    Raises CommandError, and ConfigurationError if the working directory was removed.
    """
    try:
        return locate_state_file(global_options), None
    except ConfigurationError as error:
        with _as_configuration_error():
            file = find_file(global_options.config, environ=os.environ, cwd=working_directory())
        state_file = default_state_file(os.environ, file)
        switch_to_owner_of(state_file)
        return state_file, error


@contextmanager
def _as_configuration_error() -> Iterator[None]:
    """Convert ConfigError into ConfigurationError, with one line per problem."""
    try:
        yield
    except ConfigError as error:
        lines = [str(problem) for problem in error.problems]
        if len(lines) == 1:
            raise ConfigurationError(*lines) from error
        raise ConfigurationError(f"there are {len(lines)} problems with the configuration:", *lines) from error


def settings_without_daemon(global_options: GlobalOptions, settings: Settings | None = None) -> Settings:
    """Return the settings and set up the log, for a command that works without a daemon.

    If `settings` is None, the configuration is read. Raises ConfigurationError, CommandError.
    """
    settings = settings or read_settings(global_options)
    log.setup(global_options.log_level(), "text")
    return settings


def require_source(settings: Settings | None, name: str | None) -> None:
    """Raise NameNotFoundError, which suggests a similar name, if no source with this name is configured.

    If `settings` or `name` is None, nothing is checked.
    """
    if settings is not None and name is not None:
        _require_configured("source", name, settings.sources)


def require_destination(settings: Settings | None, name: str | None) -> None:
    """Raise NameNotFoundError, which suggests a similar name, if no destination with this name is configured.

    If `settings` or `name` is None, nothing is checked.
    """
    if settings is not None and name is not None:
        _require_configured("destination", name, settings.destinations)


def _require_configured(destination_type: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise NameNotFoundError(f"there is no {destination_type} `{name}`; {hint(name, known)}")
