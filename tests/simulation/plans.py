"""The plan of a world: all that happens in it, drawn from a seed or stored as a file for a replay."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from msgspec import to_builtins

from notifier.sandbox.records import Record
from tests.simulation.account import training, user_id
from tests.simulation.loop import true_ms
from tests.simulation.people import Action, Population, day_number
from tests.simulation.profiles import PROFILES, Profile

_FIRST_ID: Final = 1001
_CROWD_INTERVAL_SECONDS: Final = 2e-3
"""The time between two actions of one crowd. Timers of the same time have no defined order, and clients of the API
cannot distinguish two records of one person and training that were entered in the same millisecond.
"""

_SPELL_SECONDS: Final[Mapping[str, tuple[float, float]]] = {
    "old": (5.0, 15.0),
    "empty": (2.5, 7.5),
    "lacking": (300.0, 900.0),
    "half": (300.0, 900.0),
    "no_files": (300.0, 900.0),
    "renumbered": (300.0, 900.0),
    "count_off": (300.0, 5400.0),
    "replica": (300.0, 1500.0),
    "rate_limited": (20.0, 200.0),
    "down": (60.0, 1200.0),
}
"""The shortest and longest duration of each kind of spell. Each spell lasts at least two polls."""


@dataclass(frozen=True, slots=True)
class Fate:
    """The fate of one request: its fault, and the seconds until it arrives (`up`) and its answer arrives (`down`).

    `kind` is the fault, empty for none; `chance` (0 to 1) chooses its details.
    """

    up: float = 0.05
    down: float = 0.05
    kind: str = ""
    chance: float = 0.0

    @property
    def is_ordinary(self) -> bool:
        """Whether the request has no fault and is not slow."""
        return not self.kind and self.up + self.down <= 0.4


@dataclass(frozen=True, slots=True)
class Spell:
    """A temporary fault of the API, from `begin` to `end` (seconds since the start); `chance` chooses its details."""

    kind: str
    begin: float
    end: float
    chance: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A record that exists at the start. Ages are in seconds."""

    id: int
    person: int
    training: int
    created_age: float
    date_age: float

    def record(self) -> Record:
        """Return the record."""
        return Record(
            id=self.id,
            user=user_id(self.person),
            training=training(self.training),
            created=true_ms(-self.created_age),
            date_number=day_number(-self.date_age),
            files=({"id": self.id},) if self.id % 2 else (),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """All that happens in a world. If `fates` is None, the fates of requests are drawn from the seed during the run.

    Times are in seconds since the start. A stored plan has the violation that it showed (`kind`), a description of it
    (`note`), and whether it still shows it (`open`).
    """

    seed: int
    profile: Profile
    entries: tuple[Entry, ...]
    actions: tuple[Action, ...]
    kills: tuple[float, ...] = ()
    jumps: tuple[tuple[float, float], ...] = ()
    views: tuple[tuple[float, int], ...] = ()
    spells: tuple[Spell, ...] = ()
    fates: Mapping[int, Fate] | None = None
    until: float | None = None
    kind: str = ""
    note: str = ""
    open: bool = False

    @property
    def population(self) -> Population:
        """The people and trainings that new records can have."""
        return Population(self.profile.persons, self.profile.trainings, self.profile.days)


def make_plan(name: str, seed: int) -> Plan:
    """Return the plan of a world, drawn from a profile in `PROFILES` and a seed."""
    profile = PROFILES[name]
    chance = random.Random(f"{name} {seed}")
    entries = _entries(profile, chance)
    return Plan(
        seed,
        profile,
        entries,
        _actions(profile, chance),
        kills=_moments(profile, chance, chance.randint(0, profile.kills)),
        jumps=tuple((at, chance.uniform(-7200, 7200)) for at in _moments(profile, chance, profile.clock_jumps)),
        views=tuple((at, number) for number, at in enumerate(_moments(profile, chance, len(profile.views)))),
        spells=_spells(profile, chance),
    )


def _entries(profile: Profile, chance: random.Random) -> tuple[Entry, ...]:
    entries = []
    for number in range(chance.randint(*profile.records)):
        age = chance.random() * profile.days * 86_400
        person, about = chance.randrange(profile.persons), chance.randrange(profile.trainings)
        entries.append(Entry(_FIRST_ID + number, person, about, 60 + age, age))
    return tuple(entries)


def _actions(profile: Profile, chance: random.Random) -> tuple[Action, ...]:
    kinds, weights = [*profile.people], [*profile.people.values()]
    actions: list[Action] = []
    now = 0.0
    while (now := now + chance.expovariate(profile.actions_an_hour / 3600)) < profile.active:
        for _ in range(chance.choice(profile.crowd)):
            now += _CROWD_INTERVAL_SECONDS
            # Often near the top of the list, where most changes happen.
            where = chance.random() ** chance.choice((1, 3))
            kind, what = chance.choices(kinds, weights)[0], chance.random()
            if kind == "pair":
                # From the first tenth of the list to the last one: nearly all days lie between.
                actions += [
                    Action(now, "backdate", what=what / 10),
                    Action(now + _CROWD_INTERVAL_SECONDS, "delete", 0.9 + where / 10),
                ]
                now += _CROWD_INTERVAL_SECONDS
            else:
                actions.append(Action(now, kind, where, what))
    return tuple(actions)


def _moments(profile: Profile, chance: random.Random, number: int) -> tuple[float, ...]:
    return tuple(sorted((0.1 + 0.85 * chance.random()) * profile.active for _ in range(number)))


def _spells(profile: Profile, chance: random.Random) -> tuple[Spell, ...]:
    spells = []
    for kind in profile.spells:
        for _ in range(chance.randint(1, 3) if len(profile.spells) == 1 else chance.randint(0, 2)):
            begin = (0.1 + 0.85 * chance.random()) * profile.active
            seconds = max(chance.uniform(*_SPELL_SECONDS[kind]), 2 * profile.poll)
            spells.append(Spell(kind, begin, min(begin + seconds, profile.active), chance.random()))
    return tuple(spells)


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan as JSON, with one line for each entry, action, spell and fate."""
    document = to_builtins(plan)
    lines = []
    for name, value in document.items():
        if isinstance(value, tuple) and value:
            rows = ",\n  ".join(json.dumps(row) for row in value)
            lines.append(f"{json.dumps(name)}: [\n  {rows}\n ]")
        elif name == "fates" and value:
            rows = ",\n  ".join(f"{json.dumps(str(number))}: {json.dumps(fate)}" for number, fate in value.items())
            lines.append(f"{json.dumps(name)}: {{\n  {rows}\n }}")
        else:
            lines.append(f"{json.dumps(name)}: {json.dumps(value)}")
    path.write_text("{\n " + ",\n ".join(lines) + "\n}\n")


def read_plan(path: Path) -> Plan:
    """Read a plan that `write_plan` has written."""
    document = json.loads(path.read_text())
    profile: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document["profile"].items()
    }
    fates = document["fates"]
    return Plan(
        **{
            **document,
            "profile": Profile(**profile),
            "entries": tuple(Entry(**entry) for entry in document["entries"]),
            "actions": tuple(Action(**action) for action in document["actions"]),
            "kills": tuple(document["kills"]),
            "jumps": tuple((at, seconds) for at, seconds in document["jumps"]),
            "views": tuple((at, number) for at, number in document["views"]),
            "spells": tuple(Spell(**spell) for spell in document["spells"]),
            "fates": None if fates is None else {int(number): Fate(**fate) for number, fate in fates.items()},
        }
    )


def without_ordinary_fates(plan: Plan) -> Plan:
    """Return a plan without the fates of requests that have no fault and are not slow."""
    fates = plan.fates or {}
    return replace(plan, fates={number: fate for number, fate in fates.items() if not fate.is_ordinary})
