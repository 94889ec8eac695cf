"""The command `notifier forget`, which erases a person's data."""

from collections.abc import Mapping
from typing import Any, Final

import click

from notifier import log
from notifier.cli import daemon_client
from notifier.cli.context import read_settings
from notifier.cli.errors import CommandError
from notifier.cli.formatting import format_count, terminal_safe
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json
from notifier.cli.parameter_types import json_object_option
from notifier.config import Settings

_LONGEST_PERSON: Final = 500


@click.command(epilog=examples("notifier forget 5e580f0cb780600088bd2c11", "notifier forget E-1046 --yes"))
@click.argument("person")
@click.option("--yes", is_flag=True, help="Erase without asking.")
@json_object_option
@pass_global_options
def forget(global_options: GlobalOptions, person: str, *, yes: bool, as_json: bool) -> None:
    """Erase a person's data from the notifier's state file.

    First delete the person's records in KPA Flex: records that the account still has are not erased here, because
    they would be read again. PERSON is a user's id, an employee number or the exact name. All events of the person
    are erased, even if they are not delivered yet. Of the person's removed records, only keys, dates and
    fingerprints are kept, so that nothing is reported twice. At the end, the command lists where data may remain, such
    as in backups.
    """
    settings = read_settings(global_options)
    log.setup(global_options.log_level(), "text")
    if not 0 < len(person.strip()) <= _LONGEST_PERSON:
        raise click.UsageError("PERSON is a user's id, an employee number or the exact name.")
    if not yes:
        preview = _request_erasure(settings, person, dry_run=True)
        _require_confirmation(preview)
    result = _request_erasure(settings, person, dry_run=False)
    if as_json:
        echo_json([result])
        return
    erased = [
        format_count(result["events"], "event"),
        format_count(result["deliveries"], "delivery", "deliveries"),
        format_count(result["records"], "removed record"),
        format_count(result["names"], "name"),
    ]
    echo(f"Erased: {', '.join(erased)}.")
    if result["living"]:
        remaining = format_count(result["living"], "record")
        echo(f"The account still has {remaining} of this person: delete them there, then run this command again.")
    echo("Not erased:", *(f"  {place}" for place in result["unreached"]))


def _request_erasure(settings: Settings, person: str, *, dry_run: bool) -> Mapping[str, Any]:
    answer = daemon_client.request(
        settings.store.path, "POST", "/v1/people/forget", body={"person": person, "dry_run": dry_run}, timeout=None
    )
    if answer is not None:
        return answer.body
    # Imported only here: the import takes half a second, and is not needed when a daemon runs.
    from notifier.cli.offline_deliveries import forget_offline  # noqa: PLC0415

    return forget_offline(settings, person, dry_run=dry_run)


def _require_confirmation(preview: Mapping[str, Any]) -> None:
    """Ask whether to erase the data of the people in `preview`. Raises CommandError unless the answer is yes."""
    for person in preview["people"]:
        click.echo(
            terminal_safe(
                f"{person['name'] or 'a person without a known name'} ({person['id']}) of {person['source']}"
            ),
            err=True,
        )
    try:
        agreed = click.confirm("Erase this person's data? This cannot be undone", err=True)
    except click.Abort:
        raise CommandError("nothing was erased: the question was not answered; --yes erases without asking") from None
    if not agreed:
        raise CommandError("nothing was erased")
