"""Puts a service's files where systemd looks for them; to repeat this changes nothing."""

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

from notifier.config.paths import CREDENTIALS_FOLDER_NAME
from notifier.service.unit import MARK, ServicePaths

_UNITS: Final = Path("/etc/systemd/system")
_OTHERS: Final = 0o077


class PlacingError(Exception):
    """A file could not be put into place; the message names the file, the reason, and what to do."""


class Done(StrEnum):
    """The results of placing a file or folder."""

    IS_THERE = "exists"
    MADE = "created"
    MADE_FOR_SECRETS = "created, for secrets: only root can read it"
    CLOSED = "permissions removed: only root can read it now"
    LEFT_ALONE = "exists, and was not changed"
    WITHHELD = "exists, but the service could not read it"
    TO_BE_COMPLETED = "written; complete it"
    WRITTEN = "written"
    AS_IT_SHOULD_BE = "is up to date"
    REPLACED = "replaced by this version's"


class Placed(Struct, frozen=True):
    """A file or folder, and the result of placing it."""

    path: Path
    done: Done


def first_configuration(names: ServicePaths) -> str:
    """Return an initial configuration, complete except for the secrets."""
    text = files(__package__).joinpath("config.toml.in").read_text(encoding="utf-8")
    values = {
        "@SERVICE@": names.service,
        "@FOLDER@": str(names.folder),
        "@STATE@": str(names.state_file),
        # Only one of several services can use the port, so the others listen on a socket.
        "@LISTEN@": "127.0.0.1:8787" if names.instance is None else f"unix:/run/{names.directory}/notifier.sock",
    }
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


def place(names: ServicePaths, unit: str, root: Path) -> Iterator[Placed]:
    """Create a service's missing files below `root`, and update its unit; yield each result.

    Raises PlacingError, without undoing earlier steps.
    """
    folder = _below(root, names.folder)
    for place in (folder, folder / CREDENTIALS_FOLDER_NAME, _below(root, names.configuration)):
        _refuse_foreign(place)
    try:
        yield _folder(folder)
        yield _credentials(folder / CREDENTIALS_FOLDER_NAME)
        yield _configuration(_below(root, names.configuration), first_configuration(names))
        yield _unit(_below(root, _UNITS / names.unit_file), unit)
    except OSError as error:
        raise PlacingError(
            f"{error.filename or folder} cannot be written ({error.strerror}): run this as root (sudo)"
        ) from error


def _refuse_foreign(path: Path) -> None:
    """Raise PlacingError if any user besides root and the caller can change a file or folder."""
    try:
        found = path.lstat()
    except OSError:
        return
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        if stat.S_ISLNK(found.st_mode) and found.st_uid in (0, os.geteuid()):
            return
        raise PlacingError(
            f"{path} can be written by users other than root: chown root:root {path}, chmod go-w {path}, and check"
            " its content"
        )


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _folder(path: Path) -> Placed:
    if path.is_dir():
        return Placed(path, Done.IS_THERE)
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir()
            folder.chmod(0o755)
    return Placed(path, Done.MADE)


def _credentials(path: Path) -> Placed:
    if not path.is_dir():
        path.mkdir(mode=0o700)
        return Placed(path, Done.MADE_FOR_SECRETS)
    if path.stat().st_mode & _OTHERS:
        path.chmod(0o700)
        return Placed(path, Done.CLOSED)
    return Placed(path, Done.IS_THERE)


def _configuration(path: Path, text: str) -> Placed:
    if path.exists():
        return Placed(path, Done.LEFT_ALONE if path.stat().st_mode & stat.S_IROTH else Done.WITHHELD)
    _write(path, text)
    return Placed(path, Done.TO_BE_COMPLETED)


def _unit(path: Path, text: str) -> Placed:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _write(path, text)
        return Placed(path, Done.WRITTEN)
    there = path.read_text(encoding="utf-8", errors="replace")
    if there == text:
        return Placed(path, Done.AS_IT_SHOULD_BE)
    if not there.startswith(MARK):
        raise PlacingError(f"{path} was not written by this command: move it away, and run this again")
    _write(path, text)
    return Placed(path, Done.REPLACED)


def _write(path: Path, text: str) -> None:
    """Write a file that every user can read; if that fails, an existing file stays unchanged."""
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


def next_steps(names: ServicePaths, program: Path, done: Collection[Done] = ()) -> list[str]:
    """Return lines that tell the operator what to do next; they depend on what was `done` with the files."""
    secrets = names.folder / CREDENTIALS_FOLDER_NAME
    if Done.WITHHELD in done:
        return [
            f"The service's own user cannot read {names.configuration}. Put its secrets into files in",
            f"{secrets}, each named like its variable, such as NOTIFIER_SOURCES__ACME__TOKEN; then",
            "",
            f"  sudo chmod 0644 {names.configuration}",
            *_to_start(names, program, done),
        ]
    if Done.LEFT_ALONE in done:
        return ["Next:", "", *_to_start(names, program, done)]
    return [
        "Next: complete the configuration, and put each secret into a file named like its variable (paste it, Enter,",
        "Ctrl-D); then check the configuration, and start the service.",
        "",
        f"  sudoedit {names.configuration}",
        f"  sudo install -m 0600 /dev/stdin {secrets}/NOTIFIER_SOURCES__ACME__TOKEN",
        f"  sudo install -m 0600 /dev/stdin {secrets}/NOTIFIER_DESTINATIONS__SAFETY_CHANNEL__URL",
        *_to_start(names, program, done),
    ]


def _to_start(names: ServicePaths, program: Path, done: Collection[Done]) -> list[str]:
    config = "" if names.instance is None else f" --config {names.configuration}"
    start = "restart" if Done.REPLACED in done else "enable --now"
    return [f"  sudo {shlex.quote(str(program))} check --online{config}", f"  sudo systemctl {start} {names.service}"]
