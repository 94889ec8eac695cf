"""Sessions end, links are valid once, and a peer that guesses the token has to wait."""

import pytest

from notifier.web.listening.transport import peer_key_of
from notifier.web.security.guess_limiter import FREE_GUESSES, LONGEST_WAIT_SECONDS, GuessLimiter
from notifier.web.security.links import VALID_SECONDS, SignInLinks
from notifier.web.security.sessions import IDLE_SECONDS, LONGEST_SECONDS, MAX_SESSIONS, Sessions, cookie_name
from tests.support.clocks import FakeClock

HERE = "127.0.0.1:8787"


def test_session_is_open_until_it_is_ended(clock: FakeClock) -> None:
    sessions = Sessions(clock)
    one, other = sessions.begin(HERE), sessions.begin(HERE)
    assert one != other
    assert sessions.extend(one, HERE)
    sessions.end(one)
    sessions.end("never begun")
    assert not sessions.extend(one, HERE)
    assert sessions.extend(other, HERE)


@pytest.mark.parametrize("guess", ["", "x", "\udcff"])
def test_session_that_was_never_begun_is_not_open(clock: FakeClock, guess: str) -> None:
    sessions = Sessions(clock)
    sessions.begin(HERE)
    assert not sessions.extend(guess, HERE)


@pytest.mark.parametrize("elsewhere", ["127.0.0.1:9999", "127.0.0.1", "localhost:8787", ""])
def test_session_is_valid_only_at_its_host_and_port(clock: FakeClock, elsewhere: str) -> None:
    sessions = Sessions(clock)
    session = sessions.begin(HERE)
    assert not sessions.extend(session, elsewhere)
    assert sessions.extend(session, HERE)


def test_session_over_tls_is_valid_only_over_tls(clock: FakeClock) -> None:
    sessions = Sessions(clock)
    plain, secure = sessions.begin("n.example"), sessions.begin("N.example", is_secure=True)
    assert sessions.extend(plain, "n.example")
    assert sessions.extend(secure, "n.example", is_secure=True)
    assert not sessions.extend(plain, "n.example", is_secure=True)
    assert not sessions.extend(secure, "n.example")


def test_session_stays_open_with_use_and_ends_when_idle(clock: FakeClock) -> None:
    sessions = Sessions(clock)
    used = sessions.begin(HERE)
    for _ in range(5):
        clock.advance(IDLE_SECONDS - 1)
        assert sessions.extend(used, HERE)
    clock.advance(IDLE_SECONDS)
    assert not sessions.extend(used, HERE)


def test_session_ends_after_a_week_despite_use(clock: FakeClock) -> None:
    sessions = Sessions(clock)
    ended: list[str] = []
    session = sessions.begin(HERE)
    sessions.call_on_end(session, lambda: ended.append("stream"))
    while clock.monotonic() + IDLE_SECONDS / 2 < LONGEST_SECONDS:
        clock.advance(IDLE_SECONDS / 2)
        assert sessions.extend(session, HERE)
    assert ended == []
    clock.advance(IDLE_SECONDS / 2)
    sessions.end_expired()
    assert ended == ["stream"]
    assert not sessions.extend(session, HERE)


def test_session_is_kept_open_by_a_stream_and_ends_the_stream(clock: FakeClock) -> None:
    sessions = Sessions(clock)
    ended: list[str] = []
    session = sessions.begin(HERE)
    leave = sessions.call_on_end(session, lambda: ended.append("left"))
    sessions.call_on_end(session, lambda: ended.append("stays"))
    clock.advance(IDLE_SECONDS + 1)
    leave()
    assert sessions.extend(session, HERE)
    sessions.end(session)
    assert ended == ["stays"]
    sessions.call_on_end(session, lambda: ended.append("too late"))
    assert ended == ["stays", "too late"]


def test_session_beyond_the_limit_ends_the_least_recently_used(clock: FakeClock) -> None:
    sessions = Sessions(clock)
    first, second = sessions.begin(HERE), sessions.begin(HERE)
    assert sessions.extend(first, HERE)
    for _ in range(MAX_SESSIONS - 1):
        sessions.begin(HERE)
    assert sessions.extend(first, HERE)
    assert not sessions.extend(second, HERE)


def test_cookie_name_contains_the_port_unless_over_tls() -> None:
    assert cookie_name(HERE, is_secure=False) == "notifier_session_8787"
    assert cookie_name("[::1]:8788", is_secure=False) == "notifier_session_8788"
    assert cookie_name("notifier.example", is_secure=False) == cookie_name("x:\u0663", is_secure=False)
    assert cookie_name("notifier.example", is_secure=True) == "__Host-notifier_session"


def test_sign_in_link_is_valid_once_and_expires(clock: FakeClock) -> None:
    links = SignInLinks(clock)
    one, late = links.make(), links.make()
    assert links.use(one)
    assert not links.use(one)
    assert not links.use("guessed")
    clock.advance(VALID_SECONDS)
    assert not links.use(late)


def test_sign_in_links_keep_only_the_newest_20(clock: FakeClock) -> None:
    links = SignInLinks(clock)
    made = [links.make() for _ in range(21)]
    assert [links.use(one) for one in made] == [False, *[True] * 20]


def test_guess_limiter_doubles_the_wait_with_each_wrong_token(clock: FakeClock) -> None:
    guess_limiter = GuessLimiter(clock)
    waits = []
    for number in range(FREE_GUESSES + 9):
        assert guess_limiter.count_wrong_token("192.0.2.1") == number + 1
        waits.append(guess_limiter.wait_seconds("192.0.2.1"))
        clock.advance(waits[-1])
        assert guess_limiter.wait_seconds("192.0.2.1") == 0
    assert waits[: FREE_GUESSES - 1] == [0] * (FREE_GUESSES - 1)
    assert waits[FREE_GUESSES - 1 :] == [1, 2, 4, 8, 16, 32, *[LONGEST_WAIT_SECONDS] * 4]


def test_guess_limiter_does_not_delay_other_peers(clock: FakeClock) -> None:
    guess_limiter = GuessLimiter(clock)
    for _ in range(20):
        guess_limiter.count_wrong_token(peer_key_of("2001:db8::1"))
    assert guess_limiter.wait_seconds(peer_key_of("2001:db8::ffff")) > 0
    others = ("2001:db8:1::1", "192.0.2.1", "uid 1000", "unknown")
    assert [guess_limiter.wait_seconds(peer_key_of(other)) for other in others] == [0] * 4
    assert peer_key_of("::ffff:192.0.2.1") == "192.0.2.1"


def test_guess_limiter_forgets_old_guesses_and_remembers_at_most_1000_peers(clock: FakeClock) -> None:
    guess_limiter = GuessLimiter(clock)
    for _ in range(20):
        guess_limiter.count_wrong_token("192.0.2.1")
    clock.advance(3600)
    guess_limiter.count_wrong_token("192.0.2.1")
    assert guess_limiter.wait_seconds("192.0.2.1") == 0
    for number in range(5000):
        guess_limiter.count_wrong_token(f"10.0.{number // 256}.{number % 256}")
    assert len(guess_limiter._wrong) == 1000
