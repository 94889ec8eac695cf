"""The tables and views of the state file, and the steps that lead to them: the files of the folder `steps`, in order.

Times in it are Unix milliseconds. A released step is never edited: a change of the schema is one more step.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlite_utils import Database, Migrations

_STEPS: Final = Path(__file__).parent / "steps"


def _step(file: Path) -> Callable[[Database], None]:
    def take(db: Database) -> None:
        # executescript() would commit the migration's transaction.
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
    """Return the names of the steps that this version knows, in order."""
    with closing(Database(memory=True)) as empty:
        return [step.name for step in migrations.pending(empty)]


def unknown_steps(db: Database) -> list[str]:
    """Return the steps in this file that this version does not know: a newer version has written it."""
    known = set(steps())
    return [step.name for step in migrations.applied(db) if step.name not in known]
