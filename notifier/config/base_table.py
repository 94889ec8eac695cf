"""The base class of all tables of the configuration."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, model_validator

from notifier.config.errors import InvalidCombination, Problem


def default(written: Any) -> Any:
    """Return a field whose default is `written`, a value in the notation of the configuration file.

    pydantic parses the default like a configured value. The file, its JSON Schema and the settings therefore share one
    default.
    """
    return Field(default=written)


class ValidationContext(Struct, frozen=True):
    """What validators need to know: the environment, the configuration file, and the names of sources and destinations.

    Without a context, validators use the environment of this process, and do not check that names exist.
    """

    environ: Mapping[str, str]
    sources: Collection[str]
    destinations: Collection[str]
    file: Path | None = None


class BaseTable(BaseModel):
    """A table of the configuration. It is immutable, and an unknown key is an error."""

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
