"""`notifier schema`."""

import json
from collections.abc import Callable
from typing import Any, Final

import click

from notifier import config
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import OneOf
from notifier.cli.screen import say
from notifier.deliver import event_schema

_SCHEMAS: Final[dict[str, Callable[[], dict[str, Any]]]] = {"config": config.schema, "event": event_schema.schema}


@click.command(epilog=examples("notifier schema config > notifier-config.schema.json", "notifier schema event"))
@click.argument("of", type=OneOf(list(_SCHEMAS)))
@takes_given
def schema(_given: Given, of: str) -> None:
    """Print the JSON Schema of the configuration or of an event."""
    say(json.dumps(_SCHEMAS[of](), indent=2))
