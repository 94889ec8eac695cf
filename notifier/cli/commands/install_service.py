"""The command `notifier install-service`, which installs a systemd service."""

import os
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Final

import click

import notifier
from notifier.cli.errors import CommandError, as_command_error
from notifier.cli.formatting import terminal_safe
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo
from notifier.config.paths import CREDENTIALS_FOLDER_NAME
from notifier.regular_files import is_there
from notifier.service import systemctl
from notifier.service.install import InstalledPath, InstallError, InstallResult, install_files, next_steps
from notifier.service.preflight import (
    LOCATION_ADVICE,
    OWNERSHIP_ADVICE,
    access_problems,
    installed_program,
    is_in_home_folder,
    ownership_problems,
    required_files,
)
from notifier.service.unit import DEFAULT_VERSION, OLDEST_VERSION, ServicePaths, unit_text

_INSTANCE: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_USER_NAME: Final = 31
"""Maximum length of a user name (User= in systemd.exec(5)). The service's user and directory have the same name."""

_SYSTEM: Final = Path("/")


@click.command(
    "install-service",
    epilog=examples(
        "notifier install-service --print",
        "sudo notifier install-service",
        "sudo notifier install-service --instance acme",
    ),
)
@click.option("--print", "only_print", is_flag=True, help="Print the unit and do nothing.")
@click.option("--instance", metavar="NAME", help="One of several services, each with its own configuration and state.")
@click.option("--now", is_flag=True, help="Start or restart it now, and start it at every boot.")
@click.option(
    "--program", type=click.Path(path_type=Path), metavar="PATH", help="The program it runs; else the present one."
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    default=_SYSTEM,
    show_default=True,
    metavar="PATH",
    help="Write below this folder, for the image of another machine.",
)
@pass_global_options
def install_service(
    _global_options: GlobalOptions,
    *,
    only_print: bool,
    instance: str | None,
    now: bool,
    program: Path | None,
    root: Path,
) -> None:
    """Install a hardened systemd service that runs this program.

    Creates /etc/notifier with a first configuration and a folder for secrets, writes the unit, and lists the remaining
    steps. Existing files are kept, except the unit. Nothing is started unless --now is given.
    """
    paths = _service_paths(instance)
    version = systemctl.version() or DEFAULT_VERSION
    if version < OLDEST_VERSION:
        raise CommandError(
            f"this is systemd {version}; the service needs {OLDEST_VERSION} or newer (Debian 12, Ubuntu 24.04)"
        )
    program_path, needs = _program_and_files(program)
    text = unit_text(
        PurePosixPath(program_path), paths, version, in_home_folder=any(map(is_in_home_folder, (program_path, *needs)))
    )
    program_obstacles = access_problems(needs)
    writable_by_others = ownership_problems(needs, None if program is not None else Path(notifier.__file__).parent)
    if only_print:
        echo(text.rstrip("\n"))
        remedies = [
            *([LOCATION_ADVICE] if program_obstacles else []),
            *([OWNERSHIP_ADVICE] if writable_by_others else []),
        ]
        for sentence in (*program_obstacles, *writable_by_others, *remedies):
            click.echo(f"Warning: {terminal_safe(sentence)}", err=True)
        return
    if now and root != _SYSTEM:
        raise click.UsageError(
            "--now cannot be combined with --root: --now starts a service on this machine, --root prepares another one"
        )
    if program_obstacles:
        raise CommandError("the service could not run this program:", *program_obstacles, LOCATION_ADVICE)
    if writable_by_others:
        raise CommandError(
            "other users could change the program that the service runs:", *writable_by_others, OWNERSHIP_ADVICE
        )
    if root == _SYSTEM and os.geteuid() != 0:
        raise CommandError("this writes to /etc: run it as root (sudo), or use --print to see what it would write")
    if now and not systemctl.is_running():
        raise CommandError(
            "systemd does not run this machine, so the service cannot be started: leave out --now to write the files"
        )
    with as_command_error(InstallError, systemctl.SystemctlError):
        _install(paths, program_path, text, root, now=now)


def _service_paths(instance: str | None) -> ServicePaths:
    paths = ServicePaths(instance)
    if instance is not None and (
        not _INSTANCE.fullmatch(instance)
        or instance == CREDENTIALS_FOLDER_NAME
        or len(paths.directory) > _LONGEST_USER_NAME
    ):
        longest = _LONGEST_USER_NAME - len(ServicePaths("").directory)
        raise click.UsageError(
            f"--instance {terminal_safe(instance)}: a name has up to {longest} lower-case letters, digits and single"
            f" hyphens, and is not `{CREDENTIALS_FOLDER_NAME}`"
        )
    return paths


def _program_and_files(given_path: Path | None) -> tuple[Path, tuple[Path, ...]]:
    """Return the program that the service runs, and the files that the service must be able to read to start.

    Raises CommandError, UsageError.
    """
    if given_path is not None:
        if not given_path.is_absolute():
            raise click.UsageError("--program: give the absolute path, beginning with /")
        # A program that does not exist here is meant for another machine.
        return given_path, (given_path,) if is_there(given_path) else ()
    present = installed_program(sys.argv[0])
    if present is None:
        raise CommandError(
            "this package was installed without its program `notifier`: give the path of the program with --program"
        )
    return present, required_files(present)


def _install(paths: ServicePaths, program: Path, text: str, root: Path, *, now: bool) -> None:
    """Write the files of the service; with `now`, start it. Raises InstallError, SystemctlError, CommandError."""
    done: list[InstalledPath] = []
    for placed in install_files(paths, text, root):
        echo(f"{terminal_safe(str(placed.path))}: {placed.result.value}")
        done.append(placed)
    if root == _SYSTEM and systemctl.is_running():
        systemctl.run_systemctl("daemon-reload")
    if not now:
        echo("", *next_steps(paths, program, {placed.result for placed in done}))
    elif any(placed.result is InstallResult.INCOMPLETE for placed in done):
        raise CommandError("nothing was started: complete the configuration first", *next_steps(paths, program))
    else:
        _start(paths)


def _start(paths: ServicePaths) -> None:
    """Enable the service, and start or restart it. Raises SystemctlError."""
    systemctl.run_systemctl("enable", paths.service)
    # A running service may still use the program of an earlier version.
    systemctl.run_systemctl("restart", paths.service)
    echo(f"{paths.service}: running, now and after every boot")
