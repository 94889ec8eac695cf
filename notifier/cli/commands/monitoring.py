"""The command `notifier monitoring`, which writes files for Prometheus and Grafana."""

from collections.abc import Mapping
from pathlib import Path

import click

import notifier
from notifier.cli.errors import CommandError
from notifier.cli.formatting import terminal_safe
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo


@click.command(epilog=examples("notifier monitoring /etc/prometheus/notifier", "notifier monitoring . --force"))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite existing files that differ.")
@pass_global_options
def monitoring(_global_options: GlobalOptions, folder: Path, *, force: bool) -> None:
    """Write alert rules for Prometheus and a dashboard for Grafana.

    Writes three files into DIR, which is created if needed: notifier.rules.yml, grafana-dashboard.json, and
    prometheus.yml, an example of a scrape configuration. They match the daemon's /metrics.
    """
    files = _files()
    try:
        differing = [name for name, content in files.items() if _differs(folder / name, content)]
        if differing and not force:
            raise CommandError(
                f"{', '.join(differing)} in {folder} would be overwritten: use --force, or name another DIR"
            )
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise CommandError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    echo(*(terminal_safe(str(folder / name)) for name in files))


def _files() -> Mapping[str, bytes]:
    """Return the content of each file to write, by file name."""
    shipped = Path(notifier.__file__).with_name("monitoring")
    return {file.name: file.read_bytes() for file in sorted(shipped.iterdir()) if file.is_file()}


def _differs(file: Path, content: bytes) -> bool:
    return file.exists() and file.read_bytes() != content
