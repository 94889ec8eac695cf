"""Sessions end, and whoever guesses has to wait."""

import pytest

from notifier.web.sessions import FREE_GUESSES, IDLE, LONGEST_WAIT, MOST_SESSIONS, Guesses, Sessions
from tests.conftest import FakeClock


def test_a_session_is_open_until_it_is_ended(clock: FakeClock) -> None:
    sessions = Sessions(clock)
    one, other = sessions.begin(), sessions.begin()
    assert one != other
    assert sessions.is_open(one)
    sessions.end(one)
    sessions.end("never begun")
    assert not sessions.is_open(one)
    assert sessions.is_open(other)


@pytest.mark.parametrize("guess", ["", "x", "\udcff"])
def test_what_was_never_begun_is_not_open(clock: FakeClock, guess: str) -> None:
    sessions = Sessions(clock)
    sessions.begin()
    assert not sessions.is_open(guess)


def test_use_keeps_a_session_open_and_rest_ends_it(clock: FakeClock) -> None:
    sessions = Sessions(clock)
    used = sessions.begin()
    for _ in range(5):
        clock.advance(IDLE - 1)
        assert sessions.is_open(used)
    clock.advance(IDLE)
    assert not sessions.is_open(used)


def test_of_very_many_sessions_the_one_at_rest_ends(clock: FakeClock) -> None:
    sessions = Sessions(clock)
    first, second = sessions.begin(), sessions.begin()
    assert sessions.is_open(first)
    for _ in range(MOST_SESSIONS - 1):
        sessions.begin()
    assert sessions.is_open(first)
    assert not sessions.is_open(second)


def test_each_wrong_token_more_doubles_the_wait(clock: FakeClock) -> None:
    guesses = Guesses(clock)
    waits = []
    for _ in range(FREE_GUESSES + 9):
        guesses.note_wrong("192.0.2.1")
        waits.append(guesses.wait("192.0.2.1"))
        clock.advance(waits[-1])
        assert guesses.wait("192.0.2.1") == 0
    assert waits[: FREE_GUESSES - 1] == [0] * (FREE_GUESSES - 1)
    assert waits[FREE_GUESSES - 1 :] == [1, 2, 4, 8, 16, 32, *[LONGEST_WAIT] * 4]


def test_who_does_not_guess_does_not_wait(clock: FakeClock) -> None:
    guesses = Guesses(clock)
    for _ in range(20):
        guesses.note_wrong("2001:db8::1")
    assert guesses.wait("2001:db8::ffff") > 0
    assert guesses.wait("2001:db8:1::1") == guesses.wait("192.0.2.1") == guesses.wait(None) == 0
    guesses.note_right("2001:db8::2")
    assert guesses.wait("2001:db8::1") == 0


def test_guesses_are_forgotten(clock: FakeClock) -> None:
    guesses = Guesses(clock)
    for _ in range(20):
        guesses.note_wrong("192.0.2.1")
    clock.advance(3600)
    guesses.note_wrong("192.0.2.1")
    assert guesses.wait("192.0.2.1") == 0
    for number in range(5000):
        guesses.note_wrong(f"10.0.{number // 256}.{number % 256}")
    assert len(guesses._wrong) == 1000
