"""The kinds of values that options take, beyond those that click has."""

import math
import re
from typing import Final

import click

from notifier.config.addresses import TcpAddress, UnixAddress, parse_listen
from notifier.config.problems import Wrong
from notifier.config.suggestions import nearest

Address = TcpAddress | UnixAddress

_RATE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:/([smh]))?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
_HIGHEST_RATE: Final = 10_000


class ListenType(click.ParamType[Address | None]):
    """An address to listen on, written as in the configuration; None for an empty one."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address | None:
        """Read the address, or fail as click's own types do."""
        try:
            return parse_listen(value)
        except Wrong as wrong:
            self.fail(str(wrong), param, ctx)


class RateType(click.ParamType[float]):
    """How many in a second, as a float: `5/s`, `30/m`, `2.5/h`, or `5`."""

    name = "rate"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the rate, or fail as click's own types do."""
        match = _RATE.fullmatch(value) if isinstance(value, str) else None
        rate = float(match[1]) / _SECONDS[match[2] or "s"] if match else math.nan
        if not 0 < rate <= _HIGHEST_RATE:
            self.fail(f"must be a number above 0, as 5/s, 5/m or 5/h, at most {_HIGHEST_RATE}/s", param, ctx)
        return rate


class OneOf(click.Choice[str]):
    """One of a few words."""

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's
        """Say which words there are."""
        return f"It is one of {', '.join(self.choices)}."

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        """Say which words there are, and which one was probably meant."""
        message = super().get_invalid_choice_message(value, ctx)
        likely = nearest(str(value), self.choices)
        return f"{message.removesuffix('.')}; did you mean `{likely}`?" if likely else message


one_json_object: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
"""What a command takes that tells of one thing it has done."""

LISTEN: Final = ListenType()
RATE: Final = RateType()
