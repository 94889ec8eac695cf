"""What all tables of the configuration have in common."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from notifier.config.problems import Conflicts, Problem


def default(notation: Any) -> Any:
    """Give a key's default as it would stand in the file; it is read like any other value.

    So the file, its JSON Schema and the settings cannot tell three different defaults.
    """
    return Field(default=notation)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the reading of a value depends on besides itself: the environment, and which names there are.

    Validators get it as pydantic's context. Without it the process's own environment counts, and names are not checked.
    """

    environ: Mapping[str, str]
    sources: Collection[str]
    destinations: Collection[str]


class Table(BaseModel):
    """A table of the configuration: immutable, and without unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    def conflicts(self) -> Iterator[Problem]:
        """Yield what does not go together, though each value is right by itself; keys start at this table."""
        yield from ()

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if problems := tuple(self.conflicts()):
            raise Conflicts(problems)
        return self
