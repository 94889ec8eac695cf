"""Parameter types that click lacks, and shell completion of the names of sources and destinations."""

import math
import re
from typing import Final

import click

from notifier.cli.global_options import GlobalOptions
from notifier.config import ConfigError, ConfiguredNames, configured_names
from notifier.config.errors import InvalidValue
from notifier.config.urls import TcpAddress, UnixAddress, parse_listen
from notifier.suggest import nearest

Address = TcpAddress | UnixAddress

_RATE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:/([smh]))?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
_HIGHEST_RATE: Final = 10_000
json_object_option: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
"""The option `--json` of commands that print one JSON object."""


class ListenType(click.ParamType[Address | None]):
    """Parameter type: an address to listen on, as in the configuration; an empty string becomes None."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address | None:
        """Parse the address. Raises BadParameter, like click's own types."""
        try:
            return parse_listen(value)
        except InvalidValue as wrong:
            self.fail(str(wrong), param, ctx)


class RateType(click.ParamType[float]):
    """Parameter type: a rate such as `5/s`, `30/m`, `2.5/h` or `5` (per second), converted to a number per second."""

    name = "rate"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse the rate. Raises BadParameter, like click's own types."""
        match = _RATE.fullmatch(value) if isinstance(value, str) else None
        rate = float(match[1]) / _SECONDS[match[2] or "s"] if match else math.nan
        if not 0 < rate <= _HIGHEST_RATE:
            self.fail(f"must be a number above 0, as 5/s, 5/m or 5/h, at most {_HIGHEST_RATE}/s", param, ctx)
        return rate


class OneOf(click.Choice[str]):
    """Parameter type: one of several words. The error for an invalid word suggests a similar valid word."""

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's
        """Return the error message for a missing value, with a list of the valid words."""
        return f"It is one of {', '.join(self.choices)}."

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        """Return the error message for an invalid value, with a list of the valid words and perhaps a suggestion."""
        message = super().get_invalid_choice_message(value, ctx)
        likely = nearest(str(value), self.choices)
        return f"{message.removesuffix('.')}; did you mean `{likely}`?" if likely else message


LISTEN: Final = ListenType()
RATE: Final = RateType()


def reject_empty(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an empty value, which the daemon would take for "all". A script's unset variable is often the cause."""
    if value == "":
        raise click.BadParameter("must not be empty")
    return value


def source_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of configured sources that begin with `incomplete`, for shell completion."""
    return [name for name in _names(context).sources if name.startswith(incomplete)]


def destination_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of configured destinations that begin with `incomplete`, for shell completion."""
    return [name for name in _names(context).destinations if name.startswith(incomplete)]


def _names(context: click.Context) -> ConfiguredNames:
    global_options = context.find_object(GlobalOptions) or GlobalOptions()
    try:
        return configured_names(global_options.config, secrets_dir=global_options.secrets_dir)
    except ConfigError:
        return ConfiguredNames()
