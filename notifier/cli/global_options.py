"""The options that every command accepts before or after its name: `--config`, `--secrets-dir`, `--verbose`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import click
from msgspec import Struct
from msgspec.structs import replace

P = ParamSpec("P")
R = TypeVar("R")
AnyCallable = TypeVar("AnyCallable", bound=Callable[..., Any])


class GlobalOptions(Struct, frozen=True):
    """The values of the global options. An option after the command's name overrides the same option before it."""

    config: Path | None = None
    secrets_dir: Path | None = None
    verbose: bool = False

    def log_level(self, default: str = "critical") -> str:
        """Return `debug` if the option `--verbose` is given; otherwise, return `default`.

        At the level `critical`, only internal errors are logged. This level suits commands that print their failures.
        """
        return "debug" if self.verbose else default


def _store_option(context: click.Context, parameter: click.Parameter, value: Path | bool | None) -> None:
    if value and parameter.name is not None:
        context.obj = replace(context.obj or GlobalOptions(), **{parameter.name: value})


# Not checked here: a configuration that cannot be read is a wrong configuration, and not wrong usage.
_ANY_PATH: Final = click.Path(path_type=Path, readable=False)
_OPTIONS: Final = (
    click.option(
        "--config",
        type=_ANY_PATH,
        metavar="PATH",
        expose_value=False,
        callback=_store_option,
        help="The configuration file; else $NOTIFIER_CONFIG, ./config.toml (not as root) or /etc/notifier/config.toml.",
    ),
    click.option(
        "--secrets-dir",
        type=_ANY_PATH,
        metavar="PATH",
        expose_value=False,
        callback=_store_option,
        help="A folder of credential files; else $CREDENTIALS_DIRECTORY.",
    ),
    click.option(
        "--verbose", is_flag=True, expose_value=False, callback=_store_option, help="Log everything, for debugging."
    ),
)


def add_global_options(command: AnyCallable) -> AnyCallable:
    """Return `command` with the global options added."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def pass_global_options(command: Callable[Concatenate[GlobalOptions, P], R]) -> Callable[P, R]:
    """Return `command` with the global options added. `command` gets their values as its first argument."""
    return add_global_options(click.make_pass_decorator(GlobalOptions, ensure=True)(command))
