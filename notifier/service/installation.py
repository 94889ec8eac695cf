"""The present installation: where its program is, and whether a service's user can run it there."""

import os
import stat
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import notifier

_PROGRAM: Final = "notifier"
_OF_THE_SERVICE_ALONE: Final = ("/tmp", "/var/tmp")  # noqa: S108 - not used, but known to be hidden by PrivateTmp=
_HOMES: Final = ("/home", "/root", "/run/user")
"""What ProtectHome= hides (systemd.exec(5))."""

ELSEWHERE: Final = (
    "install it where everybody can run it: into a virtual environment in /opt/notifier, with `pipx install --global`, "
    "or with `uv tool install` and UV_TOOL_DIR=/opt/uv UV_PYTHON_INSTALL_DIR=/opt/uv/python "
    "UV_TOOL_BIN_DIR=/usr/local/bin"
)
"""What to do about obstacles."""


def present_program(argv0: str) -> Path | None:
    """Return the real path of the program that runs, called by `argv0`; None when the package has no program."""
    called = Path(argv0)
    # As `python -m notifier` it was not called by its name, but stands where the interpreter's programs do.
    for program in (called, Path(sysconfig.get_path("scripts")) / _PROGRAM):
        if program.name == _PROGRAM and program.is_file():
            return program.resolve()
    return None


def present_needs(program: Path) -> tuple[Path, ...]:
    """Return what the present program needs to be able to read: itself, its interpreter, the library, this package."""
    return (program, Path(sys.executable).resolve(), Path(os.__file__), Path(notifier.__file__))


def obstacles(needs: Iterable[Path]) -> list[str]:
    """Say why a user of the service's own could not run what needs these files; nothing when it can."""
    return list(dict.fromkeys(filter(None, (_obstacle(path) for path in needs))))


def is_in_a_home(path: Path) -> bool:
    """Tell whether ProtectHome=yes would hide this path."""
    return any(path.is_relative_to(home) for home in _HOMES)


def _obstacle(path: Path) -> str | None:
    if any(path.is_relative_to(hidden) for hidden in _OF_THE_SERVICE_ALONE):
        return f"{path} is in a folder for temporary files, of which the service has its own"
    if ".cache" in path.parts:
        return f"{path} is in a cache, which may be emptied at any time (by `uvx` or `pipx run`?)"
    for place, needed in _way_to(path):
        try:
            mode = stat.S_IMODE(place.stat().st_mode)
        except OSError as error:
            return f"{place} cannot be looked at: {error.strerror}"
        if mode & needed != needed:
            return f"the service runs as a user of its own, who cannot reach {place} (mode {mode:04o})"
    return None


def _way_to(path: Path) -> Iterator[tuple[Path, int]]:
    """Yield the folders down to a file, and the file itself, each with what everybody must be able to do there."""
    for folder in reversed(path.parents):
        yield folder, stat.S_IXOTH
    yield path, stat.S_IROTH
