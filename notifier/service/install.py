"""Installs the files of a systemd service. Installing them a second time changes nothing."""

import os
import shlex
import stat
import tempfile
from collections.abc import Collection, Iterator
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Final

from msgspec import Struct

from notifier.config.paths import CREDENTIALS_FOLDER_NAME, SYSTEM_FILE
from notifier.service.unit import FIRST_LINE, ServicePaths

_UNIT_FOLDER: Final = Path("/etc/systemd/system")
_NOT_OWNER_BITS: Final = 0o077


class InstallError(Exception):
    """A file could not be installed. The message names the file, the reason and the remedy."""


class InstallResult(StrEnum):
    """What was done with a file or folder; the value is the text for users."""

    EXISTS = "exists"
    CREATED = "created"
    CREATED_FOR_SECRETS = "created, for secrets: only root can read it"
    RESTRICTED = "permissions removed: only root can read it now"
    UNCHANGED = "exists, and was not changed"
    CLOSED = "exists, but the service could not enter it"
    UNREADABLE = "exists, but the service could not read it"
    INCOMPLETE = "written; complete it"
    WRITTEN = "written"
    UP_TO_DATE = "is up to date"
    REPLACED = "replaced by this version's"


class InstalledPath(Struct, frozen=True):
    """A file or folder of the service, and what was done with it."""

    path: Path
    result: InstallResult


def initial_configuration(names: ServicePaths) -> str:
    """Return the text of an initial configuration file, which is complete except for the secrets."""
    text = files(__package__).joinpath("config.toml.in").read_text(encoding="utf-8")
    values = {
        "@SERVICE@": names.service,
        "@FOLDER@": str(names.folder),
        "@STATE@": str(names.state_file),
        # Several services cannot share the port, so each further service listens on a Unix socket.
        "@LISTEN@": "127.0.0.1:8787" if names.instance is None else f"unix:/run/{names.directory}/notifier.sock",
    }
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def install_files(names: ServicePaths, unit: str, root: Path) -> Iterator[InstalledPath]:
    """Create the missing files of a service below the folder `root`, and update its unit.

    Yield each result. Raises InstallError; files that were installed before the error stay.
    """
    folder = _under_root(root, names.folder)
    for place in (folder, folder / CREDENTIALS_FOLDER_NAME, _under_root(root, names.configuration)):
        _require_protected(place)
    try:
        yield _install_folder(folder)
        yield _install_credentials_folder(folder / CREDENTIALS_FOLDER_NAME)
        yield _install_configuration(_under_root(root, names.configuration), initial_configuration(names))
        yield _install_unit(_under_root(root, _UNIT_FOLDER / names.unit_file), unit)
    except OSError as error:
        raise InstallError(
            f"{error.filename or folder} cannot be written ({error.strerror}): run this as root (sudo)"
        ) from error


def _require_protected(path: Path) -> None:
    """Raise InstallError if anyone but root and the current user can change the file or folder `path`."""
    try:
        found = path.lstat()
    except OSError:
        return
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        if stat.S_ISLNK(found.st_mode) and found.st_uid in (0, os.geteuid()):
            return
        raise InstallError(
            f"{path} can be written by users other than root: chown root:root {path}, chmod go-w {path}, and check"
            " its content"
        )


def _under_root(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _install_folder(path: Path) -> InstalledPath:
    if path.is_dir():
        # The folder of an instance is in the folder of the default service.
        is_open = all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, path.parent))
        return InstalledPath(path, InstallResult.EXISTS if is_open else InstallResult.CLOSED)
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir()
            folder.chmod(0o755)
    return InstalledPath(path, InstallResult.CREATED)


def _install_credentials_folder(path: Path) -> InstalledPath:
    if not path.is_dir():
        path.mkdir(mode=0o700)
        return InstalledPath(path, InstallResult.CREATED_FOR_SECRETS)
    if path.stat().st_mode & _NOT_OWNER_BITS:
        path.chmod(0o700)
        return InstalledPath(path, InstallResult.RESTRICTED)
    return InstalledPath(path, InstallResult.EXISTS)


def _install_configuration(path: Path, text: str) -> InstalledPath:
    if path.exists():
        return InstalledPath(
            path, InstallResult.UNCHANGED if path.stat().st_mode & stat.S_IROTH else InstallResult.UNREADABLE
        )
    _write(path, text)
    return InstalledPath(path, InstallResult.INCOMPLETE)


def _install_unit(path: Path, text: str) -> InstalledPath:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _write(path, text)
        return InstalledPath(path, InstallResult.WRITTEN)
    there = path.read_text(encoding="utf-8", errors="replace")
    if there == text:
        return InstalledPath(path, InstallResult.UP_TO_DATE)
    if not there.startswith(FIRST_LINE):
        raise InstallError(f"{path} was not written by this command: move it away, and run this again")
    _write(path, text)
    return InstalledPath(path, InstallResult.REPLACED)


def _write(path: Path, text: str) -> None:
    """Write a file that all users can read. If writing fails, an existing file stays unchanged."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def next_steps(names: ServicePaths, program: Path, results: Collection[InstallResult] = ()) -> list[str]:
    """Return lines that tell the operator what to do next; `results` says what was done with the files."""
    secrets = names.folder / CREDENTIALS_FOLDER_NAME
    if InstallResult.UNREADABLE in results:
        return [
            f"The service's own user cannot read {names.configuration}. Put its secrets into files in",
            f"{secrets}, each named like its variable, such as NOTIFIER_SOURCES__ACME__TOKEN; then",
            "",
            f"  sudo chmod 0644 {names.configuration}",
            *_start_commands(names, program, results),
        ]
    if InstallResult.UNCHANGED in results:
        return ["Next:", "", *_start_commands(names, program, results)]
    return [
        "Next: complete the configuration, and put each secret into a file named like its variable (paste it, Enter,",
        "Ctrl-D); then check the configuration, and start the service.",
        "",
        f"  sudoedit {names.configuration}",
        f"  sudo install -m 0600 /dev/stdin {secrets}/NOTIFIER_SOURCES__ACME__TOKEN",
        f"  sudo install -m 0600 /dev/stdin {secrets}/NOTIFIER_DESTINATIONS__SAFETY_CHANNEL__URL",
        *_start_commands(names, program, results),
    ]


def _start_commands(names: ServicePaths, program: Path, results: Collection[InstallResult]) -> list[str]:
    config = "" if names.instance is None else f" --config {names.configuration}"
    # An existing unit may belong to a running service that still uses the program of an earlier version.
    was_installed = InstallResult.REPLACED in results or InstallResult.UP_TO_DATE in results
    is_upgrade = was_installed and InstallResult.INCOMPLETE not in results
    verbs = ("enable", "restart") if is_upgrade else ("enable --now",)
    folders = dict.fromkeys((SYSTEM_FILE.parent, names.folder))
    return [
        *([f"  sudo chmod o+x {' '.join(map(str, folders))}"] if InstallResult.CLOSED in results else []),
        f"  sudo {shlex.quote(str(program))} check --online{config}",
        *(f"  sudo systemctl {verb} {names.service}" for verb in verbs),
    ]
