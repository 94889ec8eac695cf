"""`notifier forget`, with and without a running daemon."""

import sqlite3
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from tests.support.command_line import Api, Home, Receiver, until


def state_bytes(folder: Path) -> bytes:
    """Return the bytes of the state file and of the files beside it."""
    return b"".join(
        path.read_bytes() for path in sorted(folder.iterdir()) if path.name.startswith("notifier.db") and path.is_file()
    )


async def test_forget_without_a_daemon_leaves_no_byte_of_the_name(home: Home) -> None:
    await home.remember("Wilhelmina Ode", "Eve Ball")
    assert b"Wilhelmina" in state_bytes(home.folder)
    said = await home.call("forget", "Wilhelmina Ode", "--yes")
    assert said.code == 0, said.err
    assert said.lines[0] == "Erased: 1 event, 1 delivery, 0 removed records, 0 names."
    assert "The account still has 1 record of this person" in said.out
    assert "backups" in said.out
    assert b"Wilhelmina" not in state_bytes(home.folder)
    assert b"Eve Ball" in state_bytes(home.folder)


@pytest.mark.parametrize("with_daemon", [False, True])
async def test_forget_says_which_files_still_contain_the_person(home: Home, api: Api, *, with_daemon: bool) -> None:
    home.configure(api.url)
    await home.remember("Wilhelmina Ode")
    async with home.daemon() if with_daemon else nullcontext():
        (home.folder / "notifier.db.essentials.new").mkdir()
        with closing(sqlite3.connect(home.state_file, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            said = await home.call("forget", "Wilhelmina Ode", "--yes", "--json")
        assert said.code == 0, said.err
        places = said.documents[0]["unreached"]
        assert [place for place in places if "-wal" in place or ".essentials" in place] == places[:2]


@pytest.mark.parametrize("answer", ["n\n", ""])
async def test_forget_without_confirmation_erases_nothing(home: Home, answer: str) -> None:
    await home.remember("Wilhelmina Ode")
    with home.started("forget", "Wilhelmina Ode", stdin=True) as process:
        _, err = process.communicate(answer, timeout=20)
    assert process.returncode == 1
    assert "Wilhelmina Ode (person-0) of acme" in err
    assert "nothing was erased" in err
    assert b"Wilhelmina" in state_bytes(home.folder)


async def test_forget_rejects_unknown_and_ambiguous_names(home: Home) -> None:
    await home.remember("Eve Ball", "Eve Ball")
    nobody = await home.call("forget", "Nobody", "--yes")
    assert (nobody.code, "no person has this id" in nobody.err) == (2, True)
    several = await home.call("forget", "Eve Ball", "--yes")
    assert several.code == 2
    assert "2 people have this name: give the id of one of them (person-0, person-1)" in several.err
    assert (await home.call("forget", "person-1", "--yes")).code == 0


async def test_forget_through_a_daemon_erases_and_polling_continues(home: Home, api: Api, receiver: Receiver) -> None:
    home.configure(api.url, hr=receiver.url)
    await home.remember("Wilhelmina Ode", to=("gone",))
    async with home.daemon():
        said = await home.call("forget", "Wilhelmina Ode", "--yes", "--json")
        assert said.code == 0, said.err
        assert said.documents[0]["events"] == 1
        assert b"Wilhelmina" not in state_bytes(home.folder)

        async def can_poll() -> bool:
            return (await home.call("poll", "acme")).code == 0

        await until(can_poll)
    assert b"Wilhelmina" not in state_bytes(home.folder)
