"""Behaviour that all destinations for people share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from msgspec.structs import replace

from notifier.delivery.preview import group_into_requests
from notifier.destinations.base import Grouping, SupportsPrepare, SupportsPreview
from notifier.destinations.registry import build
from notifier.messages.variables import session_key
from notifier.store.tables.outbox import Delivery
from tests.support.completion_types import TYPES

if TYPE_CHECKING:
    from tests.support.clocks import FakeClock
    from tests.support.destinations import MakeEvent

Make = Callable[..., Any]
Deliveries = Callable[..., list[Delivery]]


@pytest.fixture(params=TYPES)
def make(request: pytest.FixtureRequest, session: aiohttp.ClientSession, clock: "FakeClock") -> Make:
    """Return a function that creates a destination; each test runs with every type for people."""
    table, url = TYPES[request.param]

    def made(**keys: Any) -> Any:
        settings = table.model_validate({"type": request.param, "url": url, **keys})
        return build("there", settings, session, clock)

    return made


async def shown(destination: Any, deliveries: list[Delivery]) -> list[tuple[str, ...]]:
    """Return the lines of the messages for these deliveries."""
    groups = group_into_requests(deliveries, destination, 1.0)
    assert isinstance(destination, SupportsPreview)
    return [(await destination.preview(group)).lines async for group in groups]


async def test_message_lines_are_the_same_for_every_type(
    make: Make, make_event: "MakeEvent", make_alert: "MakeEvent", deliveries: Deliveries
) -> None:
    events = [make_event(1), make_event(2, "completion.removed"), make_alert(3, since=None)]
    assert await shown(make(), deliveries(*events)) == [
        (
            "1 training completed, 1 record removed, 1 alert",
            "• David Ball completed Ladder Safety on 27 Feb 2020 · #1197",
            "• David Ball · Ladder Safety on 27 Feb 2020 was removed · #1198",
            "• ⚠️ acme: cannot be read · No successful poll for 15 minutes",
        )
    ]


async def test_group_session_of_more_than_ten_is_one_message(
    make: Make, make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    single = make_event(1)
    people = [make_event(number, group_training_id="9", user_name=f"Person {number}") for number in range(2, 27)]
    alone, together = await shown(make(), deliveries(single, *people))
    assert alone == ("David Ball completed Ladder Safety on 27 Feb 2020 · #1197",)
    assert together[0] == "Ladder Safety · group session on 27 Feb 2020 · 25 people"
    assert together[1:] == tuple(f"• Person {number} · #{1196 + number}" for number in range(2, 27))


async def test_ten_events_share_a_message_and_more_than_digest_above_become_a_digest(
    make: Make, make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    some = make(digest_above=12)
    assert some.grouping == Grouping(10, digest_above=12, group_key=session_key)
    waiting = deliveries(*(make_event(number) for number in range(1, 14)))
    assert [len(lines) for lines in await shown(some, waiting[:12])] == [11, 3]
    (digest,) = await shown(some, waiting)
    assert digest == (
        "13 trainings completed",
        "• Ladder Safety: 13",
        "David Ball",
    )


async def test_preview_of_more_than_ten_events_without_a_session_is_a_digest(
    make: Make, make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    preview = await make().preview(deliveries(*(make_event(number) for number in range(1, 12))))
    assert preview.lines == ("11 trainings completed", "• Ladder Safety: 11", "David Ball")


async def test_own_templates_are_read_by_prepare_and_not_for_each_message(
    make: Make, make_event: "MakeEvent", deliveries: Deliveries, tmp_path: Path
) -> None:
    file = tmp_path / "completed.j2"
    file.write_text("{{ person | bold }} a terminé {{ training }}")
    destination = make(templates=str(tmp_path))
    assert isinstance(destination, SupportsPrepare)
    await destination.prepare()
    file.write_text("{{ person }}: {{ training }}")
    assert await shown(destination, deliveries(make_event())) == [("David Ball a terminé Ladder Safety",)]
    await destination.prepare()
    assert await shown(destination, deliveries(make_event())) == [("David Ball: Ladder Safety",)]


async def test_wrong_template_is_replaced_by_the_shipped_one_and_logged_once(
    make: Make,
    make_event: "MakeEvent",
    deliveries: Deliveries,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "completed.j2").write_text("{{ person | bold }}\n{{ 1 // (key | length - 4) }}")
    destination = make(templates=str(tmp_path))
    for _ in range(3):
        assert await shown(destination, deliveries(make_event())) == [
            ("David Ball completed Ladder Safety on 27 Feb 2020 · #1238",)
        ]
    (record,) = caplog.records
    facts = vars(record)
    assert (facts["destination"], facts["detail"][:42]) == ("there", "completed.j2, line 2: ZeroDivisionError: i")


def slotted(deliveries: list[Delivery]) -> list[Delivery]:
    return [replace(delivery, slot_ms=1) for delivery in deliveries]


async def test_slot_digest_lists_every_event_by_training(
    make: Make, make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    events = [
        make_event(1, training_id="7", training_title="Forklift", user_id="w", user_name="Ida Wu"),
        make_event(2),
        make_event(3, user_id="w", user_name="Ida Wu"),
        make_event(4, kind="completion.removed", user_id="r", user_name="Max Roe"),
    ]
    assert await shown(make(), slotted(deliveries(*events))) == [
        (
            "3 trainings completed, 1 record removed",
            "• Ladder Safety (3): David Ball, Ida Wu, Max Roe (removed)",
            "• Forklift: Ida Wu",
        )
    ]


async def test_slot_digest_can_be_grouped_by_person(
    make: Make, make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    events = [
        make_event(1, training_id="7", training_title="Forklift", user_id="w", user_name="Ida Wu"),
        make_event(2),
        make_event(3, user_id="w", user_name="Ida Wu"),
    ]
    assert await shown(make(digest_by="person"), slotted(deliveries(*events))) == [
        ("3 trainings completed", "• Ida Wu (2): Forklift, Ladder Safety", "• David Ball: Ladder Safety")
    ]


async def test_slot_with_a_single_event_is_one_line(
    make: Make, make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    assert await shown(make(), slotted(deliveries(make_event(1)))) == [
        ("David Ball completed Ladder Safety on 27 Feb 2020 · #1197",)
    ]


async def test_slot_digest_too_long_for_one_message_is_split_evenly_and_names_everyone(
    make: Make, make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    names = [f"Person Number {number:04d}" for number in range(1, 601)]
    events = [make_event(number, user_id=name, user_name=name) for number, name in enumerate(names, 1)]
    messages = await shown(make(), slotted(deliveries(*events)))
    text = "\n".join(line for lines in messages for line in lines)
    assert all(text.count(name) == 1 for name in names)
    counts = [int(lines[0].split()[0]) for lines in messages]
    assert sum(counts) == 600
    assert len(set(counts[:-1])) <= 1
    assert counts[-1] <= counts[0]
