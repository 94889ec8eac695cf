"""The steps that create the tables and views of the state file: `.sql` files, applied in order of number.

Times are Unix milliseconds. A released step is never edited; each change of the schema is a new step.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlite_utils import Database, Migrations

_STEPS: Final = Path(__file__).parent


def _step(file: Path) -> Callable[[Database], None]:
    def take(db: Database) -> None:
        # executescript() would commit the transaction of the migration.
        for statement in file.read_text(encoding="utf-8").split(";\n"):
            if statement.strip():
                db.execute(statement)

    return take


def _all_steps() -> Migrations:
    known = Migrations("notifier")
    for file in sorted(_STEPS.glob("*.sql"), key=lambda file: int(file.stem.partition("_")[0])):
        known(name=file.stem.partition("_")[2])(_step(file))
    return known


migrations: Final = _all_steps()


def steps() -> list[str]:
    """Return the names of the steps that this version has, in order."""
    with closing(Database(memory=True, execute_plugins=False)) as empty:
        return [step.name for step in migrations.pending(empty)]


def unknown_steps(db: Database) -> list[str]:
    """Return the steps of a store that only a newer version of the program knows."""
    known = set(steps())
    return [step.name for step in migrations.applied(db) if step.name not in known]
