"""`notifier install-service`."""

import os
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Final

import click

from notifier.cli.failures import Failure, told
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.screen import say
from notifier.cli.text import harmless
from notifier.config.places import CREDENTIALS_NAME
from notifier.service import systemctl
from notifier.service.installation import ELSEWHERE, is_in_a_home, obstacles, present_needs, present_program
from notifier.service.next_steps import next_steps
from notifier.service.placing import Done, Placed, PlacingError, place
from notifier.service.units import BASELINE, OLDEST, Names, unit

_INSTANCE: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_USER: Final = 31
"""Characters of a user's name (User= in systemd.exec(5)), which is that of the service's directory."""

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
@click.option("--now", is_flag=True, help="Start it, now and at every boot; needs a complete configuration.")
@click.option(
    "--program", type=click.Path(path_type=Path), metavar="PATH", help="The program it runs; else the present one."
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    default=_SYSTEM,
    metavar="PATH",
    help="Write below this folder, for the image of another machine.",
)
@takes_given
def install_service(
    _given: Given, *, only_print: bool, instance: str | None, now: bool, program: Path | None, root: Path
) -> None:
    """Install a hardened systemd service that runs this program.

    Makes /etc/notifier with a first configuration and a folder for secrets, writes the unit, and says what is left to
    do. What is there already is kept, the unit excepted. Nothing is started unless asked for with --now.
    """
    names = _names(instance)
    version = systemctl.version() or BASELINE
    if version < OLDEST:
        raise Failure(f"this is systemd {version}; the service needs {OLDEST} or newer (Debian 12, Ubuntu 24.04)")
    runs, needs = _program(program)
    text = unit(PurePosixPath(runs), names, version, in_a_home=any(map(is_in_a_home, (runs, *needs))))
    hindered = obstacles(needs)
    if only_print:
        say(text.rstrip("\n"))
        for sentence in (*hindered, *([ELSEWHERE] if hindered else [])):
            click.echo(f"Warning: {harmless(sentence)}", err=True)
        return
    if now and root != _SYSTEM:
        raise click.UsageError("--now starts a service of this machine, --root is for another one")
    if hindered:
        raise Failure("the service could not run this program:", *hindered, ELSEWHERE)
    if root == _SYSTEM and os.geteuid() != 0:
        raise Failure("this writes to /etc: run it as root (sudo), or see with --print what it would write")
    if now and not systemctl.is_running():
        raise Failure("systemd does not manage this machine: without --now, this writes the files only")
    with told(PlacingError, systemctl.SystemctlError):
        _install(names, runs, text, root, now=now)


def _names(instance: str | None) -> Names:
    names = Names(instance)
    if instance is not None and (
        not _INSTANCE.fullmatch(instance) or instance == CREDENTIALS_NAME or len(names.directory) > _LONGEST_USER
    ):
        longest = _LONGEST_USER - len(Names("").directory)
        raise click.UsageError(
            f"--instance {harmless(instance)}: a name is made of up to {longest} lower-case letters, digits and single"
            f" hyphens, and is not `{CREDENTIALS_NAME}`"
        )
    return names


def _program(named: Path | None) -> tuple[Path, tuple[Path, ...]]:
    """Return the program that the service runs, and what it needs to read. Raises Failure, UsageError."""
    if named is not None:
        if not named.is_absolute():
            raise click.UsageError("--program: give the whole path, from / on")
        # Where it is not there yet, it is for another machine.
        return named, (named,) if named.exists() else ()
    present = present_program(sys.argv[0])
    if present is None:
        raise Failure("this package was installed without its program `notifier`: name one with --program")
    return present, present_needs(present)


def _install(names: Names, program: Path, text: str, root: Path, *, now: bool) -> None:
    """Put the files into place, and start the service if asked to. Raises PlacingError, SystemctlError, Failure."""
    done: list[Placed] = []
    for placed in place(names, text, root):
        say(f"{harmless(str(placed.path))}: {placed.done.value}")
        done.append(placed)
    if root == _SYSTEM and systemctl.is_running():
        systemctl.systemctl("daemon-reload")
    if not now:
        say("", *next_steps(names, program, {placed.done for placed in done}))
    elif any(placed.done is Done.TO_BE_COMPLETED for placed in done):
        raise Failure("nothing was started: the configuration is still to be completed", *next_steps(names, program))
    else:
        _start(names, anew=any(placed.done is Done.REPLACED for placed in done))


def _start(names: Names, *, anew: bool) -> None:
    """Start the service; `anew` also when it runs. Raises SystemctlError."""
    systemctl.systemctl("enable", names.service)
    systemctl.systemctl("restart" if anew else "start", names.service)
    say(f"{names.service}: runs, now and after every boot")
