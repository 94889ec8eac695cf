"""Which files and folders are looked for where."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from notifier.config.problems import ConfigError, Problem

CONFIG_VARIABLE: Final = "NOTIFIER_CONFIG"
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
CREDENTIALS_NAME: Final = "credentials"
"""The folder of a service's credentials, beside its configuration."""
FILE_NAME: Final = "config.toml"
SYSTEM_FILE: Final = Path("/etc/notifier") / FILE_NAME
STATE_FILE_NAME: Final = "notifier.db"


def find_file(path: Path | None, *, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Return the configuration file to read, None when there is none in the usual places.

    `path` (`--config`) comes first, then `$NOTIFIER_CONFIG`; what they name is returned whether it exists or not.
    """
    if path is not None:
        return cwd / path
    if named := environ.get(CONFIG_VARIABLE):
        return cwd / named
    return next((place for place in usual_files(cwd) if _is_there(place)), None)


def _is_there(file: Path) -> bool:
    """Tell whether there is a file, or may be one: one that cannot be looked at is worth an error of its own."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def usual_files(cwd: Path) -> tuple[Path, ...]:
    """Return where a configuration file is looked for that nobody named."""
    return (cwd / FILE_NAME, SYSTEM_FILE)


def credentials_directory(
    secrets_dir: Path | None, *, environ: Mapping[str, str], cwd: Path, file: Path | None
) -> Path | None:
    """Return the folder of credential files: `--secrets-dir`, else the one systemd provides, else the service's own.

    The last is for commands that an operator types: it lies beside `file`, the service's configuration, from where
    systemd provides them to the service.
    """
    if secrets_dir is not None:
        return cwd / secrets_dir
    if provided := environ.get(CREDENTIALS_VARIABLE):
        return cwd / provided
    if file is None or not file.is_relative_to(SYSTEM_FILE.parent):
        return None
    own = file.with_name(CREDENTIALS_NAME)
    return own if _is_there(own) else None


def default_state_file(environ: Mapping[str, str]) -> Path:
    """Return where the state file lies when `store.path` does not say: systemd's folder, else the user's."""
    provided = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if provided:
        return Path(provided) / STATE_FILE_NAME
    state_home = Path(environ.get("XDG_STATE_HOME", ""))
    if not state_home.is_absolute():
        home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises without one
        state_home = home / ".local" / "state"
    return state_home / "notifier" / STATE_FILE_NAME


def working_directory() -> Path:
    """Return the working directory. Raises ConfigError when somebody removed it."""
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError([Problem("configuration", f"the working directory is gone ({error.strerror})")]) from None
