"""Parses the Containerfile, so that tests can compare it with the program."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CONTAINERFILE = REPOSITORY / "systemd" / "container" / "Containerfile"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its name in capitals, and its text on one line."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The text as a JSON array or as words of a shell."""
        return list(json.loads(self.text)) if self.text.startswith("[") else shlex.split(self.text)


@dataclass(frozen=True, slots=True)
class Stage:
    """A build stage: a FROM instruction and the instructions until the next FROM."""

    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        """Return all instructions with this name."""
        return [one for one in self.instructions if one.name == name]

    def only(self, name: str) -> Instruction:
        """Return the instruction with this name; there must be exactly one."""
        (one,) = self.all(name)
        return one

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that the stage sets."""
        return dict(word.split("=", 1) for one in self.all("ENV") for word in one.words)

    @property
    def command(self) -> list[str]:
        """The command that a container runs by default."""
        return [*self.only("ENTRYPOINT").words, *self.only("CMD").words]

    @property
    def health_command(self) -> list[str]:
        """The command of the health check."""
        return Instruction("CMD", self.only("HEALTHCHECK").text.partition("CMD ")[2]).words

    @property
    def user(self) -> tuple[int, int]:
        """The numeric ids of the user and the group that a container runs as."""
        user, _, group = self.only("USER").text.partition(":")
        return int(user), int(group)


def stages() -> list[Stage]:
    """Return the stages of the Containerfile."""
    lines = [line for line in CONTAINERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, text = line.partition(" ")
        if name == "FROM":
            found.append(Stage(text))
        elif name and found:
            found[-1].instructions.append(Instruction(name, text.strip()))
    return found
