"""Makes the text of the systemd unit. Pure, except that it reads the template beside this file.

`systemd/` at the top of the repository contains the result for a virtual environment in /opt/notifier on Debian 12; a
test checks that the two are equal.
"""

import re
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Final

from msgspec import Struct

from notifier.config.paths import FILE_NAME, SYSTEM_FILE

OLDEST_VERSION: Final = 250
"""The first version of systemd that can pass a whole folder of credentials (LoadCredential= in systemd.exec(5))."""

DEFAULT_VERSION: Final = 252
"""The systemd version, that of Debian 12, for which the unit is written if systemd is not installed."""

_RESTART_STEPS_VERSION: Final = 254
"""The first version that can increase the pause between restarts (RestartSteps= in systemd.service(5))."""

_PLACEHOLDER: Final = re.compile("@([A-Z]+)@")

FIRST_LINE: Final = "# Completion Notifier as a systemd service.\n"
"""The first line of units that this program writes. Only units with this first line are replaced."""


class ServicePaths(Struct, frozen=True):
    """The names and paths of one service; `instance` is the instance's name, None for the default service."""

    instance: str | None = None

    @property
    def service(self) -> str:
        """The name of the service in `systemctl`."""
        return "notifier" if self.instance is None else f"notifier@{self.instance}"

    @property
    def unit_file(self) -> str:
        """The name of the unit file; all instances share one file."""
        return "notifier.service" if self.instance is None else "notifier@.service"

    @property
    def directory(self) -> str:
        """The name of the service's directory under /var/lib and /run.

        An instance's directory is not inside that of the default service, because systemd makes the default service's
        user the owner of everything in there.
        """
        return "notifier" if self.instance is None else f"notifier-{self.instance}"

    @property
    def folder(self) -> Path:
        """The directory of the service's configuration and credentials."""
        return SYSTEM_FILE.parent if self.instance is None else SYSTEM_FILE.parent / self.instance

    @property
    def configuration(self) -> Path:
        """The path of the service's configuration file."""
        return self.folder / FILE_NAME

    @property
    def state_file(self) -> Path:
        """The path of the service's state file, as seen by root."""
        return Path("/var/lib") / self.directory / "notifier.db"


def unit_text(
    program: PurePosixPath, names: ServicePaths, systemd_version: int = DEFAULT_VERSION, *, in_home_folder: bool = False
) -> str:
    """Return the text of a unit that runs `program` (an absolute path) under this version of systemd.

    `in_a_home`: the program, or a file that it needs, is in a home directory.
    """
    # All instances share the file of a template unit, in which systemd replaces %i with the instance's name.
    unit_names = names if names.instance is None else ServicePaths("%i")
    values = {
        "UNIT": "notifier" if names.instance is None else "notifier@NAME",
        "OF": "" if names.instance is None else " of %i",
        "PROGRAM": exec_line_path(program),
        "FOLDER": str(unit_names.folder),
        "NAME": unit_names.directory,
        "HOME": _protect_home(in_home_folder=in_home_folder),
        "RESTART": _restart_settings(systemd_version),
    }
    template = files(__package__).joinpath("notifier.service.in").read_text(encoding="utf-8")
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def exec_line_path(program: PurePosixPath) -> str:
    """Return a path for an Exec line; characters that systemd would interpret are escaped."""
    escaped = str(program).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[\s\"'\\;]", escaped) else escaped


def _protect_home(*, in_home_folder: bool) -> str:
    if in_home_folder:
        told = "# The program is in a home directory, which the service can therefore read, but not change."
        return f"{told}\nProtectHome=read-only"
    return "ProtectHome=yes"


def _restart_settings(systemd_version: int) -> str:
    if systemd_version < _RESTART_STEPS_VERSION:
        return "15s"
    steps = "# The pause between two restarts grows to the longest one in this many steps.\nRestartSteps=8"
    return f"5s\n{steps}\nRestartMaxDelaySec=5min"
