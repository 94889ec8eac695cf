"""The commands to type after a service's files have been installed. Pure."""

import shlex
from collections.abc import Collection
from pathlib import Path

from notifier.config.paths import CREDENTIALS_NAME
from notifier.service.install import Done
from notifier.service.unit import ServicePaths


def next_steps(names: ServicePaths, program: Path, done: Collection[Done] = ()) -> list[str]:
    """Return the lines that describe the steps; they depend on what was `done` with the files."""
    secrets = names.folder / CREDENTIALS_NAME
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
        "Ctrl-D); then look whether all is well, and start.",
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
