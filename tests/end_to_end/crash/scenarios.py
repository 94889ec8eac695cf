"""Scenarios for fault injection: operations on a state file, each in a prepared folder."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from notifier.store import pruning
from notifier.store.file import maintenance
from notifier.store.file.backup import back_up, restore
from notifier.store.file.connection import APPLICATION_ID, FileDatabase
from notifier.store.file.lock import FileLock
from notifier.store.migrations import migrations, steps
from notifier.store.recovery.opener import open_state_file
from notifier.store.tables import records, retention, sources
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.records import Findings
from notifier.store.tables.settlements import Settlement, store_settlements
from tests.support.used_state_file import HOUR, HR, NEWS, NOW, PAGE, created, fill, write_essentials

LATE_RECORDS = range(NEWS.stop, NEWS.stop + 3)
"""The numbers of the records that are found in the scenario `normal work`."""


def ignore_progress(_done: int, _of: int) -> None:
    pass


def open_state(folder: Path) -> closing[FileDatabase]:
    return closing(open_state_file(folder / "notifier.db", NOW + HOUR))


@dataclass(frozen=True, slots=True)
class Scenario:
    """An operation on a state file: `prepare` fills a folder, then `work` is killed or gets an error.

    `has_earlier_data` is true if the prepared folder has records and deliveries that must survive.
    """

    prepare: Callable[[Path], None]
    work: Callable[[Path], None]
    has_earlier_data: bool = True


def prepare_nothing(_: Path) -> None:
    pass


def prepare_used(folder: Path) -> None:
    with open_state(folder) as db:
        fill(db)
        write_essentials(folder / "notifier.db", db)


def prepare_free_pages(folder: Path) -> None:
    prepare_used(folder)
    with open_state(folder) as db:
        db.execute("CREATE TABLE padding (content BLOB)")
        db.execute("INSERT INTO padding VALUES (zeroblob(1500000))")
        db.execute("DROP TABLE padding")


def prepare_backup(folder: Path) -> None:
    prepare_used(folder)
    back_up(folder / "notifier.db", folder / "copy.db", ignore_progress)


def prepare_restored(folder: Path) -> None:
    prepare_backup(folder)
    restore_backup(folder)


def prepare_damaged(folder: Path) -> None:
    prepare_used(folder)
    with (folder / "notifier.db").open("r+b") as file:
        file.seek(40 * PAGE)
        file.write(b"\xab" * PAGE * 20)


def prepare_missing(folder: Path) -> None:
    prepare_used(folder)
    (folder / "notifier.db").unlink()


def prepare_older(folder: Path) -> None:
    with open_state(folder) as db:
        fill(db)
    shutil.copy(folder / "notifier.db", folder / "older")
    with open_state(folder) as db:
        write_essentials(folder / "notifier.db", db)
    (folder / "older").replace(folder / "notifier.db")


def prepare_before_migration(step: str) -> Callable[[Path], None]:
    """Return a function that makes a state file of the last version without the migration `step`."""

    def make(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "notifier.db", isolation_level=None)) as db:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("PRAGMA journal_mode = WAL")
            migrations.apply(FileDatabase(db), stop_before=step)
            db.execute("INSERT INTO sources (name, met_at) VALUES ('acme', 1000)")
            db.execute(
                "INSERT INTO events VALUES (1, 'evt_1', 'completion.created', 'acme', '7', 1, 'head', '', 0, '{}')"
            )
            db.execute("INSERT INTO deliveries (sequence, destination) VALUES (1, 'hr')")

    return make


def open_and_close(folder: Path) -> None:
    with open_state(folder):
        pass


def do_daily_work(folder: Path) -> None:
    """Detect records, store the outcome of a delivery and write the essentials, as a daemon does."""
    with open_state(folder) as db:
        for number in LATE_RECORDS:
            with db.atomic():
                (event,) = records.write(db, Findings("acme", "acme", changes=[created(number)]), HR, NOW)
            with db.atomic():
                sources.record_success(db, "acme", NOW)
            if number == LATE_RECORDS.start:
                settled = Settlement((event.sequence,), "hr", DeliveryState.DELIVERED, "t", "t", 200, "", NOW, 1, 0)
                with db.atomic():
                    store_settlements(db, [settled])
        write_essentials(folder / "notifier.db", db)
        maintenance.checkpoint(db)


def prune_and_vacuum(folder: Path) -> None:
    """Delete old data, and return free pages to the file system."""
    with open_state(folder) as db:
        place: retention.DetectionPosition | None = retention.BEFORE_ALL
        while place is not None:
            with db.atomic():
                place = retention.delete_old_events(db, NOW - 24 * HOUR, place).place
        with db.atomic():
            pruning.prune(db, NOW)
        while maintenance.release_pages(db):
            pass
        maintenance.checkpoint(db)


def restore_backup(folder: Path) -> None:
    restore(folder / "notifier.db", folder / "copy.db", ignore_progress, NOW + HOUR)


def back_up_again(folder: Path) -> None:
    back_up(folder / "notifier.db", folder / "another.db", ignore_progress)


def restore_elsewhere(folder: Path) -> None:
    """Restore the backup in a folder without a state file, and open it there."""
    restore(folder / "elsewhere" / "notifier.db", folder / "copy.db", ignore_progress, NOW + HOUR)
    open_and_close(folder / "elsewhere")


SCENARIOS = {
    "creation": Scenario(prepare_nothing, open_and_close, has_earlier_data=False),
    "normal work": Scenario(prepare_used, do_daily_work),
    "pruning and vacuum": Scenario(prepare_free_pages, prune_and_vacuum),
    "restore": Scenario(prepare_backup, restore_backup),
    "first start after restore": Scenario(prepare_restored, open_and_close),
    "rebuild of a damaged file": Scenario(prepare_damaged, open_and_close),
    "rebuild of a file that is gone": Scenario(prepare_missing, open_and_close),
    "an older file": Scenario(prepare_older, open_and_close),
    "backup": Scenario(prepare_used, back_up_again),
    "moving": Scenario(prepare_backup, restore_elsewhere),
    **{
        f"migration from before {step}": Scenario(
            prepare_before_migration(step), open_and_close, has_earlier_data=False
        )
        for step in steps()[1:]
    },
}


def run_scenario(name: str, folder: Path) -> None:
    """Run the work of a scenario while holding the state file's lock, unless the work takes the lock itself."""
    scenario = SCENARIOS[name]
    takes_the_lock_itself = scenario.work in (restore_backup, back_up_again, restore_elsewhere)
    lock = FileLock(folder / "notifier.db")
    if not takes_the_lock_itself:
        lock.acquire()
    scenario.work(folder)
    lock.release()
