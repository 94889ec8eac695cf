"""The command `notifier schema`, which prints JSON Schemas."""

import json
from collections.abc import Callable
from typing import Any, Final

import click

from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo
from notifier.cli.parameter_types import OneOf
from notifier.config import json_schema
from notifier.destinations.webhook import event_schema

_SCHEMAS: Final[dict[str, Callable[[], dict[str, Any]]]] = {"config": json_schema.schema, "event": event_schema.schema}


@click.command(epilog=examples("notifier schema config > notifier-config.schema.json", "notifier schema event"))
@click.argument("of", type=OneOf(list(_SCHEMAS)))
@pass_global_options
def schema(_global_options: GlobalOptions, of: str) -> None:
    """Print the JSON Schema of the configuration or of an event."""
    echo(json.dumps(_SCHEMAS[of](), indent=2))
