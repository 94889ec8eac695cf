"""The configuration as the commands need it: read, or told what is wrong with it."""

from collections.abc import Collection, Iterator

from notifier.cli.failures import UnknownName, WrongConfiguration
from notifier.cli.given import Given
from notifier.config import ConfigError, MessageSettings, Problem, Settings, load
from notifier.config.suggestions import hint


def load_settings(given: Given) -> Settings:
    """Read the configuration and the templates that it names. Raises ConfigError with every problem that was found."""
    settings = load(given.config, secrets_dir=given.secrets_dir)
    if problems := tuple(_wrong_templates(settings)):
        raise ConfigError(problems)
    return settings


def _wrong_templates(settings: Settings) -> Iterator[Problem]:
    if any(isinstance(one, MessageSettings) and one.templates is not None for one in settings.destinations.values()):
        # The template engine and the destination types, which most commands never need.
        from notifier.deliver.message.check import problems  # noqa: PLC0415
        from notifier.deliver.registry import kind  # noqa: PLC0415

        yield from problems(settings.destinations, lambda one: kind(one).fits)


def read_settings(given: Given) -> Settings:
    """Read the configuration. Raises WrongConfiguration with every problem that was found."""
    try:
        return load_settings(given)
    except ConfigError as error:
        lines = [str(problem) for problem in error.problems]
        if len(lines) == 1:
            raise WrongConfiguration(*lines) from error
        raise WrongConfiguration(f"there are {len(lines)} problems with the configuration:", *lines) from error


def require_source(settings: Settings, name: str) -> None:
    """Raise UnknownName, suggesting the nearest one, unless there is a source of that name."""
    _require("source", name, settings.sources)


def require_destination(settings: Settings, name: str) -> None:
    """Raise UnknownName, suggesting the nearest one, unless there is a destination of that name."""
    _require("destination", name, settings.destinations)


def _require(kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise UnknownName(f"there is no {kind} `{name}`; {hint(name, known)}")
