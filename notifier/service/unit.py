"""Creates the text of the systemd unit from the template beside this file.

The unit in `systemd/` of the repository is for a virtual environment in /opt/notifier on Debian 12. A test checks that
this module creates the same text.
"""

import re
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Final

from msgspec import Struct

from notifier.config.paths import FILE_NAME, SYSTEM_FILE

OLDEST_VERSION: Final = 250
"""The oldest supported version of systemd: the first that can pass a folder of credentials (LoadCredential=)."""

DEFAULT_VERSION: Final = 252
"""The version of systemd in Debian 12. The unit is written for this version if systemd is not installed."""

_RESTART_STEPS_VERSION: Final = 254
"""The first version of systemd that can increase the pause between restarts (RestartSteps= in systemd.service(5))."""

_PLACEHOLDER: Final = re.compile("@([A-Z]+)@")

FIRST_LINE: Final = "# Completion Notifier as a systemd service.\n"
"""The first line of every unit file that this program writes. Unit files with another first line are not replaced."""


class ServicePaths(Struct, frozen=True):
    """The names and paths of one systemd service. For the default service, the instance name `instance` is None."""

    instance: str | None = None

    @property
    def service(self) -> str:
        """The name of the service in commands of `systemctl`."""
        return "notifier" if self.instance is None else f"notifier@{self.instance}"

    @property
    def unit_file(self) -> str:
        """The name of the unit file. All instances share one unit file; the default service has another."""
        return "notifier.service" if self.instance is None else "notifier@.service"

    @property
    def directory(self) -> str:
        """The name of the service's folders in /var/lib and /run.

        The folder of an instance is not inside the folder of the default service, because systemd makes the user of the
        default service the owner of everything there.
        """
        return "notifier" if self.instance is None else f"notifier-{self.instance}"

    @property
    def folder(self) -> Path:
        """The folder with the configuration and the credentials of the service."""
        return SYSTEM_FILE.parent if self.instance is None else SYSTEM_FILE.parent / self.instance

    @property
    def configuration(self) -> Path:
        """The path of the service's configuration file."""
        return self.folder / FILE_NAME

    @property
    def state_file(self) -> Path:
        """The path of the service's state file. The initial configuration names it, so that root's commands find it."""
        return Path("/var/lib") / self.directory / "notifier.db"


def unit_text(
    program: PurePosixPath, names: ServicePaths, systemd_version: int = DEFAULT_VERSION, *, in_home_folder: bool = False
) -> str:
    """Return the text of a unit that runs `program` (an absolute path) under this version of systemd.

    `in_home_folder` says whether the program, or a file that it needs, is in a home folder.
    """
    # All instances share one unit file, in which systemd replaces %i with the name of the instance.
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
    """Return the path of a program for an Exec line of a unit; characters that systemd would interpret are escaped."""
    escaped = str(program).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[\s\"'\\;]", escaped) else escaped


def _protect_home(*, in_home_folder: bool) -> str:
    if in_home_folder:
        comment = "# The program is in a home directory, which the service can therefore read, but not change."
        return f"{comment}\nProtectHome=read-only"
    return "ProtectHome=yes"


def _restart_settings(systemd_version: int) -> str:
    if systemd_version < _RESTART_STEPS_VERSION:
        return "15s"
    steps = "# The pause between two restarts grows to the longest one in this many steps.\nRestartSteps=8"
    return f"5s\n{steps}\nRestartMaxDelaySec=5min"
