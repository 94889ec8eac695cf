"""The base class of all tables of the configuration."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, model_validator

from notifier.config.errors import InvalidCombination, Problem


def default(notation: Any) -> Any:
    """Return a field with a default that is written and parsed like a value in the configuration file.

    This way the file, its JSON Schema and the settings share one default.
    """
    return Field(default=notation)


class ValidationContext(Struct, frozen=True):
    """The context of a validation: the environment, the file, and the names of sources and destinations.

    Validators that get no context use the process's own environment and do not check names.
    """

    environ: Mapping[str, str]
    sources: Collection[str]
    destinations: Collection[str]
    file: Path | None = None


class BaseTable(BaseModel):
    """A table of the configuration: immutable, and without unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
        # Otherwise pydantic would build the validators of each table twice: for itself, and as a part of the settings.
        defer_build=True,
    )

    def conflicts(self) -> Iterator[Problem]:
        """Yield a problem for each contradiction between keys; `Problem.key` is relative to this table."""
        yield from ()

    @model_validator(mode="after")
    def _raise_conflicts(self) -> Self:
        if problems := tuple(self.conflicts()):
            raise InvalidCombination(problems)
        return self
