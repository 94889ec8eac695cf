"""Names that a shell completes: those of the configuration that the command would read, where it can be read."""

import click

from notifier.cli.given import Given
from notifier.config import ConfigError, ConfiguredNames, configured_names


def source_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the sources whose names begin like this."""
    return [name for name in _names(context).sources if name.startswith(incomplete)]


def destination_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the destinations whose names begin like this."""
    return [name for name in _names(context).destinations if name.startswith(incomplete)]


def _names(context: click.Context) -> ConfiguredNames:
    given = context.find_object(Given) or Given()
    try:
        return configured_names(given.config, secrets_dir=given.secrets_dir)
    except ConfigError:
        return ConfiguredNames()
