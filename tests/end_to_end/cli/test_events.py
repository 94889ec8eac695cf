"""`notifier events`: detected events as a table, as JSON and as CSV, and --follow."""

import asyncio
import csv
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from notifier.web.event_rows import COLUMNS

if TYPE_CHECKING:
    import subprocess

    from tests.support.command_line import Home

HOSTILE_NAME = "Mal\x1b]0;owned\x07\x9bice"


async def test_events_in_a_pipe_prints_a_table(home: "Home") -> None:
    await home.remember("David Ball", "Maria Lopez")
    said = await home.call("events")
    assert said.code == 0
    titles, first, second = said.lines
    assert titles.split() == ["SEQ", "DETECTED", "WHAT", "SOURCE", "RECORD", "PERSON", "TRAINING", "COMPLETED"]
    assert first.split()[0] == "1"
    assert "created  acme    0       David Ball   Ladder Safety  2020-02-27" in first
    assert second.index("Maria Lopez") == titles.index("PERSON")


async def test_events_json_prints_one_cloudevent_per_line(home: "Home") -> None:
    await home.remember("David Ball", "Maria Lopez")
    first, second = (await home.call("events", "--json")).documents
    assert (first["specversion"], first["source"], first["type"]) == ("1.0", "/sources/acme", "completion.created")
    assert first["sequence"] == "00000000000000000001"
    assert second["data"]["completion"]["user_name"] == "Maria Lopez"


async def test_events_after_a_number_prints_only_later_events(home: "Home") -> None:
    await home.remember("A", "B", "C")
    assert [event["sequence"][-1] for event in (await home.call("events", "--after", "1", "--json")).documents] == [
        "2",
        "3",
    ]
    assert (await home.call("events", "--after", "3", "--json")).lines == []
    assert (await home.call("events", "--after", str(10**30), "--json")).code == 0


async def test_events_prints_all_events_as_json_and_the_latest_50_on_a_terminal(home: "Home") -> None:
    await home.remember(*(f"Person {number}" for number in range(60)))
    assert len((await home.call("events", "--json")).lines) == 60
    shown = home.on_terminal("events").lines
    assert len(shown) == 51
    assert "Person 10" in shown[1]
    assert "Person 59" in shown[-1]


async def test_events_with_none_stored_succeeds(home: "Home") -> None:
    await home.remember()
    said = await home.call("events")
    assert (said.code, said.out, said.err) == (0, "", "there are none\n")


async def test_events_prints_no_control_codes_of_a_hostile_name(home: "Home") -> None:
    await home.remember(HOSTILE_NAME)
    for said in (await home.call("events"), await home.call("events", "--json"), home.on_terminal("events")):
        assert said.code == 0
        assert not [steering for steering in ("\x1b]", "\x07", "\x9b") if steering in said.out]
    (event,) = (await home.call("events", "--json")).documents
    assert event["data"]["completion"]["user_name"] == HOSTILE_NAME


async def test_events_follow_prints_new_events_until_interrupted(home: "Home") -> None:
    await home.remember("David Ball")
    with home.started("events", "--follow", "--json") as process:
        names = [await next_name(process)]
        await home.remember("Maria Lopez")
        names += [await next_name(process)]
        err = await home.end(process, signal.SIGINT)
    assert names == ["David Ball", "Maria Lopez"]
    assert (process.returncode, err.strip()) == (130, "")


async def test_events_follow_continues_after_the_state_file_is_replaced(home: "Home") -> None:
    await home.remember("David Ball", "Ann Lee", "Bo Ray")
    elsewhere = replace(home, folder=home.folder / "elsewhere")
    elsewhere.folder.mkdir()
    await elsewhere.remember("David Ball", "Maria Lopez")
    with home.started("events", "--follow", "--json") as process:
        assert [await next_name(process) for _ in range(3)] == ["David Ball", "Ann Lee", "Bo Ray"]
        elsewhere.state_file.replace(home.state_file)
        await asyncio.sleep(1)
        await home.remember("Eve Fox")
        assert await next_name(process) == "Eve Fox"
        await home.end(process, signal.SIGINT)


async def test_events_follow_keeps_the_columns_aligned(home: "Home") -> None:
    await home.remember("Al")
    with home.started("events", "--follow") as process:
        assert process.stdout is not None
        titles, first = [await asyncio.to_thread(process.stdout.readline) for _ in range(2)]
        await home.remember("Maximiliane Hohenberg")
        second = await asyncio.to_thread(process.stdout.readline)
        await home.remember("Bo")
        third = await asyncio.to_thread(process.stdout.readline)
        await home.end(process, signal.SIGINT)
    assert {line.index(name) for line, name in ((first, "Al"), (second, "Maxi"), (third, "Bo"))} == {
        titles.index("PERSON")
    }
    assert first.index("Ladder") == third.index("Ladder") == titles.index("TRAINING")


async def next_name(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    name: str = json.loads(line)["data"]["completion"]["user_name"]
    return name


async def test_events_ends_quietly_when_its_reader_closes_the_pipe(home: "Home") -> None:
    await home.remember(*(f"Person {number}" for number in range(1500)))
    with home.started("events", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=10) == 0


async def test_events_reports_output_that_cannot_be_written(home: "Home") -> None:
    await home.remember("David Ball")
    with Path("/dev/full").open("w") as full, home.started("events", stdout=full.fileno()) as process:
        _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert err == "Error: the output cannot be written: No space left on device\n"


async def test_events_csv_escapes_formulas_and_control_codes(home: "Home") -> None:
    await home.remember("David Ball", '=HYPERLINK("https://evil.example")', HOSTILE_NAME)
    said = await home.call("events", "--csv", "--after", "0")
    assert (said.code, said.err) == (0, "")
    first, formula, stranger = csv.DictReader(said.lines)
    assert (first["person"], first["training"], first["waiting_for"]) == ("David Ball", "Ladder Safety", "hr")
    assert formula["person"] == '\'=HYPERLINK("https://evil.example")'
    assert "\x1b" not in stranger["person"]
    assert (await home.call("events", "--csv", "--after", "99")).lines == [",".join(COLUMNS)]
    wrong = await home.call("events", "--csv", "--json")
    assert (wrong.code, "--json and --csv cannot be combined" in wrong.err) == (2, True)
