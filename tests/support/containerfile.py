"""What a Containerfile says, as far as the tests compare it with the program."""

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
    """What stands between one FROM and the next."""

    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        """Return the instructions of a name."""
        return [one for one in self.instructions if one.name == name]

    def only(self, name: str) -> Instruction:
        """Return the only instruction of a name."""
        (one,) = self.all(name)
        return one

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it sets."""
        return dict(word.split("=", 1) for one in self.all("ENV") for word in one.words)

    @property
    def command(self) -> list[str]:
        """What a container runs unless it is told otherwise."""
        return [*self.only("ENTRYPOINT").words, *self.only("CMD").words]

    @property
    def health_command(self) -> list[str]:
        """What tells whether it works."""
        return Instruction("CMD", self.only("HEALTHCHECK").text.partition("CMD ")[2]).words

    @property
    def user(self) -> tuple[int, int]:
        """The numbers of the user and the group that it runs as."""
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
