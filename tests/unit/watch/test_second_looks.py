"""Second looks: how long they wait, by which clock, and how long they still wait after a restart."""

import pytest

from notifier.store.file.store import FileStore
from notifier.store.tables import second_looks
from notifier.store.tables.second_looks import LookKind, SecondLook
from notifier.watch.limits import DETECTION_LIMITS
from notifier.watch.second_looks import SecondLooks
from tests.support.clocks import FakeClock

CONFIRM_AFTER = 300.0


@pytest.fixture
def looks(store: FileStore, clock: FakeClock) -> SecondLooks:
    return SecondLooks("acme", store, clock, CONFIRM_AFTER)


def look(clock: FakeClock, key: str = "1", kind: LookKind = LookKind.REMOVAL, **fields: int | None) -> SecondLook:
    values = {"since_ms": clock.now_ms(), "first_ms": clock.now_ms(), "flips": 0, "flipped_ms": None} | fields
    return SecondLook(key, kind, detected_by="count", form=0, user_id="u", training_id="t", **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("jump", [0.0, -86_400.0, 86_400.0])
def test_second_look_is_due_after_confirm_after_despite_wall_clock_jumps(
    looks: SecondLooks, clock: FakeClock, jump: float
) -> None:
    looks.note([look(clock)], ())
    clock.set_wall_clock(jump)
    clock.advance(CONFIRM_AFTER - 0.001)
    assert looks.due() == frozenset()
    clock.advance(0.001)
    assert looks.due() == {"1"}


def test_second_look_interrupted_wait_starts_again(looks: SecondLooks, clock: FakeClock) -> None:
    looks.note([look(clock)], ())
    looks.note([look(clock, since_ms=None)], ())
    clock.advance(CONFIRM_AFTER)
    assert looks.due() == frozenset()
    assert looks.waiting(LookKind.REMOVAL) == []
    looks.note([look(clock)], ())
    assert looks.due() == frozenset()
    clock.advance(CONFIRM_AFTER)
    assert looks.due() == {"1"}


def test_second_look_is_forgotten_when_it_ends(looks: SecondLooks, clock: FakeClock) -> None:
    looks.note([look(clock), look(clock, "2")], ())
    looks.note([], ["1", "3"])
    clock.advance(CONFIRM_AFTER)
    assert looks.due() == set(looks.by_key) == {"2"}


@pytest.mark.parametrize(
    ("passed", "left"), [(0.0, CONFIRM_AFTER), (100.0, 200.0), (9000.0, 0.0), (-9000.0, CONFIRM_AFTER)]
)
async def test_wait_continues_after_restart(store: FileStore, clock: FakeClock, passed: float, left: float) -> None:
    """If the clock was set back, the wait begins again, but it is never longer."""
    await store.run(second_looks.put, "acme", [look(clock), look(clock, "2", since_ms=None)])
    clock.set_wall_clock(passed)
    looks = SecondLooks("acme", store, clock, CONFIRM_AFTER)
    await looks.recall()
    if left:
        clock.advance(left - 0.001)
        assert looks.due() == frozenset()
        clock.advance(0.002)
    assert looks.due() == {"1"}


def test_contradicted_returns_looks_with_many_recent_flips(looks: SecondLooks, clock: FakeClock) -> None:
    now_ms = clock.now_ms()
    looks.note(
        [
            look(clock, "few", flips=2, flipped_ms=now_ms),
            look(clock, "many", flips=3, flipped_ms=now_ms),
            look(clock, "old", flips=3, flipped_ms=now_ms - 3_600_001),
        ],
        (),
    )
    assert [one.key for one in looks.contradicted(3, 3_600_000)] == ["many"]


async def test_forget_old_forgets_looks_interrupted_long_ago(looks: SecondLooks, clock: FakeClock) -> None:
    old_ms, new_ms = clock.now_ms() - 3_600_001, clock.now_ms() - 3_600_000
    looks.note(
        [
            look(clock, "waits", flips=1, flipped_ms=old_ms),
            look(clock, "old", since_ms=None, flips=1, flipped_ms=old_ms),
            look(clock, "new", since_ms=None, flips=1, flipped_ms=new_ms),
        ],
        (),
    )
    await looks.forget_old(DETECTION_LIMITS)
    assert sorted(looks.by_key) == ["new", "waits"]
