"""Completes names of sources and destinations from the configuration that the command would read."""

import click

from notifier.cli.global_options import GlobalOptions
from notifier.config import ConfigError, ConfiguredNames, configured_names


def source_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the sources whose names begin with `incomplete`."""
    return [name for name in _names(context).sources if name.startswith(incomplete)]


def destination_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the destinations whose names begin with `incomplete`."""
    return [name for name in _names(context).destinations if name.startswith(incomplete)]


def _names(context: click.Context) -> ConfiguredNames:
    given = context.find_object(GlobalOptions) or GlobalOptions()
    try:
        return configured_names(given.config, secrets_dir=given.secrets_dir)
    except ConfigError:
        return ConfiguredNames()
