"""Finds the configuration file, the credentials and the state file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from notifier.config.errors import ConfigError, Problem
from notifier.privileges import is_root

CONFIG_VARIABLE: Final = "NOTIFIER_CONFIG"
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
CREDENTIALS_FOLDER_NAME: Final = "credentials"
"""The name of the folder with a service's credential files, beside the service's configuration file."""
FILE_NAME: Final = "config.toml"
SYSTEM_FILE: Final = Path("/etc/notifier") / FILE_NAME
STATE_FILE_NAME: Final = "notifier.db"
STATE_ROOT: Final = Path("/var/lib")
"""The folder in which systemd creates a folder for the state of each service."""


def find_file(path: Path | None, *, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Return the configuration file to read; None if there is none.

    `path` (`--config`) comes first, then `$NOTIFIER_CONFIG`. Either file is returned even if it does not exist. Without
    both, the result is the first of `usual_files` that exists.
    """
    if path is not None:
        return cwd / path
    if named := environ.get(CONFIG_VARIABLE):
        return cwd / named
    return next((place for place in usual_files(cwd) if _may_exist(place)), None)


def _may_exist(file: Path) -> bool:
    """Return False only if a file certainly does not exist.

    After any other error, return True: reading the file then reports the error.
    """
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def usual_files(cwd: Path) -> tuple[Path, ...]:
    """Return the paths where a configuration file is looked for if none was named.

    For root, the working directory is left out, because any user may own it. For other users, the working directory is
    left out if they cannot enter it, as after `sudo -u`.
    """
    return (SYSTEM_FILE,) if is_root() or not os.access(cwd, os.X_OK) else (cwd / FILE_NAME, SYSTEM_FILE)


def credentials_directory(
    secrets_dir: Path | None, *, environ: Mapping[str, str], cwd: Path, file: Path | None
) -> Path | None:
    """Return the folder of credential files; None if there is none.

    It is the first of: `--secrets-dir`; the folder that systemd provides; the folder beside a service's configuration
    `file`.
    systemd provides a folder only to the service, not to commands that an operator types.
    """
    if secrets_dir is not None:
        return cwd / secrets_dir
    if provided := environ.get(CREDENTIALS_VARIABLE):
        return cwd / provided
    if file is None or not file.is_relative_to(SYSTEM_FILE.parent):
        return None
    own = file.with_name(CREDENTIALS_FOLDER_NAME)
    return own if _may_exist(own) else None


def default_state_file(environ: Mapping[str, str], file: Path | None = None) -> Path:
    """Return the path of the state file for a configuration without `store.path`.

    The state file is in the folder that systemd provides. Without such a folder, it is in the state folder of the
    service whose configuration is `file`, if that folder exists; otherwise in the user's state directory.
    """
    provided = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if provided:
        return Path(provided) / STATE_FILE_NAME
    if (of_service := service_state_file(file)) is not None:
        return of_service
    state_home = Path(environ.get("XDG_STATE_HOME", ""))
    if not state_home.is_absolute():
        home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises without one
        state_home = home / ".local" / "state"
    return state_home / "notifier" / STATE_FILE_NAME


def service_state_file(file: Path | None) -> Path | None:
    """Return the state file of the service with the configuration `file`, for commands that an operator types.

    Returns None if `file` belongs to no service, or the service has no state folder yet.
    """
    if file is None or not file.is_relative_to(SYSTEM_FILE.parent):
        return None
    instance = file.parent.relative_to(SYSTEM_FILE.parent).parts
    folder = STATE_ROOT / "-".join(("notifier", *instance))
    return folder / STATE_FILE_NAME if _may_exist(folder) else None


def working_directory() -> Path:
    """Return the working directory. Raises ConfigError if it was removed."""
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError(
            [Problem("configuration", f"the working directory no longer exists ({error.strerror})")]
        ) from None
