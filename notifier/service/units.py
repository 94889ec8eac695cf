"""The text of the unit, for one program in one place. Pure, but for reading the template that lies beside this file.

`systemd/` at the top of the repository shows what comes out for a virtual environment in /opt/notifier on Debian 12;
a test holds both together.
"""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Final

from notifier.config.places import FILE_NAME, SYSTEM_FILE

OLDEST: Final = 250
"""The first version of systemd that hands over a whole folder of credentials (LoadCredential= in systemd.exec(5))."""

BASELINE: Final = 252
"""The version of systemd that the unit is made for when none is there: Debian 12's."""

_BACKS_OFF: Final = 254
"""The first version that lets the pause between two tries grow (RestartSteps= in systemd.service(5))."""

_PLACEHOLDER: Final = re.compile("@([A-Z]+)@")

MARK: Final = "# Completion Notifier as a systemd service.\n"
"""How a unit begins that is ours to replace."""


@dataclass(frozen=True, slots=True)
class Names:
    """What belongs to one service: the plain one (`instance` is None), or one of several, each with a name."""

    instance: str | None = None

    @property
    def service(self) -> str:
        """What the service is called in `systemctl`."""
        return "notifier" if self.instance is None else f"notifier@{self.instance}"

    @property
    def unit_file(self) -> str:
        """The file's name; all instances share one."""
        return "notifier.service" if self.instance is None else "notifier@.service"

    @property
    def directory(self) -> str:
        """The name of its directory below /var/lib and /run.

        Not one inside the plain service's: systemd gives that, with all that is in it, to the plain service's user.
        """
        return "notifier" if self.instance is None else f"notifier-{self.instance}"

    @property
    def folder(self) -> Path:
        """Where its configuration and its credentials are."""
        return SYSTEM_FILE.parent if self.instance is None else SYSTEM_FILE.parent / self.instance

    @property
    def configuration(self) -> Path:
        """Its configuration file."""
        return self.folder / FILE_NAME

    @property
    def state_file(self) -> Path:
        """Its state file, as root finds it."""
        return Path("/var/lib") / self.directory / "notifier.db"


def unit(program: PurePosixPath, names: Names, systemd: int = BASELINE, *, in_a_home: bool = False) -> str:
    """Return the unit that runs `program`, an absolute path, under this version of systemd.

    `in_a_home` tells whether the program, or what it is made of, is in somebody's home.
    """
    # In the file of a template unit, systemd puts in the instance's name.
    written = names if names.instance is None else Names("%i")
    values = {
        "UNIT": "notifier" if names.instance is None else "notifier@NAME",
        "OF": "" if names.instance is None else " of %i",
        "PROGRAM": executable(program),
        "FOLDER": str(written.folder),
        "NAME": written.directory,
        "HOME": _protect_home(in_a_home=in_a_home),
        "RESTART": _back_off(systemd),
    }
    template = files(__package__).joinpath("notifier.service.in").read_text(encoding="utf-8")
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def executable(program: PurePosixPath) -> str:
    """Write a path as the command of an Exec line: what systemd would read otherwise than it stands is escaped."""
    escaped = str(program).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[\s\"'\\;]", escaped) else escaped


def _protect_home(*, in_a_home: bool) -> str:
    if in_a_home:
        told = "# The program is installed in a home: the service must see it there, and can change nothing."
        return f"{told}\nProtectHome=read-only"
    return "ProtectHome=yes"


def _back_off(systemd: int) -> str:
    if systemd < _BACKS_OFF:
        return "15s"
    return "5s\n# From there to the longest pause, in so many steps.\nRestartSteps=8\nRestartMaxDelaySec=5min"
