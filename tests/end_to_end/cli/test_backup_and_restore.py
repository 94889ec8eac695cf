"""`notifier backup` and `notifier restore`, with and without a running daemon."""

import re
from typing import TYPE_CHECKING

from tests.support.command_line import until
from tests.support.new_state_file import new_state_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import Api, Home, Receiver

TIME_PATTERN = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"


async def test_restore_of_a_backup_of_a_running_daemon_repeats_no_event(
    home: "Home", api: "Api", receiver: "Receiver"
) -> None:
    home.configure(api.url, hr=receiver.url)
    copy = home.folder / "copy.db"
    async with home.daemon():
        made = await home.run("backup", "copy.db")
        refused = await home.run("restore", "copy.db")
        again = await home.run("backup", "copy.db")
        user, training = api.account.users[0]["id"], api.account.trainings[0].ids
        key = str(api.account.add(user=user, training=training).id)
        await until(lambda: has_received(receiver, 1))
        (before,) = (await home.run("events", "--json")).documents
    assert made.code == 0, made.err
    assert re.fullmatch(
        rf"copy\.db: 0\.\d MB, checked; it contains all data received from the API until {TIME_PATTERN},"
        " and 0 pending deliveries",
        made.lines[0],
    )
    assert made.lines[1] == "To restore it: stop the daemon, run `notifier restore copy.db`, start the daemon."
    assert (refused.code, "in use by process" in refused.err) == (1, True)
    assert (again.code, again.err.strip()) == (
        1,
        f"Error: {copy} exists: name another file, or overwrite it (--force)",
    )

    restored = await home.run("restore", "copy.db")
    assert restored.code == 0, restored.err
    assert re.fullmatch(rf"{home.state_file}: restored to its state at {TIME_PATTERN}", restored.lines[0])
    assert re.search(r"is kept as \S+/notifier\.db\.replaced-\d{8}T\d{6}Z; delete it", restored.lines[1])
    assert "events that were already sent are not sent again" in restored.lines[2]
    async with home.daemon():
        await home.run("sweep", "acme")
        later = str(api.account.add(user=user, training=training).id)
        await until(lambda: has_received(receiver, 2))
        (after,) = (await home.run("events", "--json")).documents
    # The record is found again, but causes no event. New events get numbers above all used ones.
    assert (before["subject"], after["subject"]) == (key, later)
    assert int(after["sequence"]) > int(before["sequence"])


async def has_received(receiver: "Receiver", count: int) -> bool:
    return len(receiver.bodies) >= count


async def test_backup_and_restore_without_a_daemon_keep_pending_deliveries(home: "Home") -> None:
    await home.remember("David Ball", "Ann Poe")
    said = home.on_terminal("backup", "copy.db")
    assert said.code == 0, said.err
    assert "backup" in said.out
    assert "MB" in said.out
    assert "2 pending deliveries" in said.out
    restored = await home.call("restore", str(home.folder / "copy.db"))
    assert "The backup contains 2 pending deliveries, which the daemon sends when it starts." in restored.lines
    assert len((await home.call("deliveries", "--json")).documents) == 2


async def test_restore_over_an_unreadable_file_warns_about_it(home: "Home", tmp_path: "Path") -> None:
    backup = tmp_path / "backup.db"
    new_state_file(backup)
    home.state_file.write_bytes(b"not a state file" * 100)
    restored = await home.call("restore", str(backup))
    assert restored.code == 0
    (warning,) = [line for line in restored.lines if line.startswith("Warning: the previous file could not be read (")]
    assert warning.endswith("only what its essentials contain is known.")


async def test_restore_without_a_backup_and_backup_without_a_state_file_fail(home: "Home") -> None:
    missing = await home.call("restore", str(home.folder / "nothing.db"))
    assert (missing.code, missing.err) == (1, f"Error: there is no file {home.folder}/nothing.db\n")
    nothing_yet = await home.call("backup", str(home.folder / "copy.db"))
    assert (nothing_yet.code, nothing_yet.err) == (
        1,
        f"Error: there is no state file {home.state_file} yet: there is nothing to back up\n",
    )
    assert not [path for path in home.folder.iterdir() if path.name.startswith(".")]
