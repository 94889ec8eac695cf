"""`notifier monitoring`."""

from collections.abc import Mapping
from pathlib import Path

import click

import notifier
from notifier.cli.failures import Failure
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.screen import say
from notifier.cli.text import harmless


@click.command(epilog=examples("notifier monitoring /etc/prometheus/notifier", "notifier monitoring . --force"))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write over files that are there and differ.")
@takes_given
def monitoring(_given: Given, folder: Path, *, force: bool) -> None:
    """Write alert rules for Prometheus and a dashboard for Grafana.

    Three files into DIR, which is made if need be: notifier.rules.yml, grafana-dashboard.json, and prometheus.yml, an
    example of a scrape configuration. They go with what the daemon tells at /metrics.
    """
    files = _files()
    try:
        differing = [name for name, content in files.items() if _differs(folder / name, content)]
        if differing and not force:
            raise Failure(f"{', '.join(differing)} in {folder} would be written over: give --force, or another DIR")
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise Failure(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    say(*(harmless(str(folder / name)) for name in files))


def _files() -> Mapping[str, bytes]:
    """Return what is written, by file name."""
    shipped = Path(notifier.__file__).with_name("monitoring")
    return {file.name: file.read_bytes() for file in sorted(shipped.iterdir()) if file.is_file()}


def _differs(file: Path, content: bytes) -> bool:
    return file.exists() and file.read_bytes() != content
