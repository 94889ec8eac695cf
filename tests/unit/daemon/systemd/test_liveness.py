"""Who is stuck: never one that gets on, always one that does not, whatever the clock and the machine do."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.daemon.systemd.liveness import (
    LEAST_TOLERANCE_SECONDS,
    LONG_ROUND_SECONDS,
    LONG_TRANSACTION_SECONDS,
    STORE,
    JobStats,
    Observation,
    all_parts,
    observe,
    running_seconds,
    stuck_parts,
)

TICK = 5.0
TOLERANCE_SECONDS = 60.0

intervals = st.floats(0.1, 2 * 86_400)
gaps = st.lists(st.floats(0.0, 40.0), min_size=1, max_size=40)


class Observer:
    """Looks again and again, as the supervision does, while the daemon lives through the time in between."""

    def __init__(self, *jobs: JobStats, tolerance_seconds: float = TOLERANCE_SECONDS) -> None:
        self.jobs = list(jobs)
        self.answers = 0
        self.seen: dict[str, Observation] = {}
        self.tolerance_seconds = tolerance_seconds

    def check(self, gap: float = TICK) -> dict[str, float]:
        """Look, `gap` seconds after the last time."""
        current = all_parts(self.jobs, self.answers, self.tolerance_seconds)
        self.seen = observe(self.seen, current, running_seconds(gap, TICK))
        return stuck_parts(self.seen, current)

    def check_for(self, seconds: float, *, store_lives: bool = True) -> dict[str, float]:
        """Look for so long, and return what is stuck at the end."""
        found = self.check()
        for _ in range(int(seconds // TICK) + 1):
            self.answers += store_lives
            found = self.check()
        return found


@given(intervals, st.integers(0, 30), st.floats(0.0, 1.0))
def test_a_job_that_keeps_its_interval_is_never_stuck(interval: float, rounds: int, lateness: float) -> None:
    observer = Observer(JobStats("acme", interval))
    waited = 0.0
    for _ in range(min(rounds * int(interval / TICK + 1), 500)):
        observer.answers += 1
        assert observer.check() == {}
        waited += TICK
        if waited >= interval + lateness * (TOLERANCE_SECONDS - 2 * TICK):
            job = observer.jobs[0]
            observer.jobs[0] = replace(job, started_runs=job.started_runs + 1, ended_runs=job.ended_runs + 1)
            waited = 0.0


@given(st.floats(0.1, 3600.0), st.integers(0, 5), st.integers(0, 3))
def test_a_job_that_begins_no_more_is_stuck_soon_after_its_interval_and_nothing_else_is(
    interval: float, runs: int, others: int
) -> None:
    still = JobStats("acme", interval, started_runs=runs, ended_runs=runs)
    observer = Observer(still, *(JobStats(f"other-{number}", 7 * 86_400) for number in range(others)))
    assert observer.check_for(interval + TOLERANCE_SECONDS - 2 * TICK) == {}
    assert list(observer.check_for(3 * TICK)) == ["acme"]


def test_a_round_without_a_sign_of_life_is_stuck_only_after_a_long_time() -> None:
    observer = Observer(JobStats("acme", 60.0, started_runs=5, ended_runs=4, progress=17))
    assert observer.check_for(LONG_ROUND_SECONDS) == {}
    assert list(observer.check_for(TOLERANCE_SECONDS + 2 * TICK)) == ["acme"]


def test_a_round_that_may_wait_longer_for_an_answer_is_given_that_time() -> None:
    observer = Observer(JobStats("acme", 60.0, answer_seconds=2 * LONG_ROUND_SECONDS, started_runs=5, ended_runs=4))
    assert observer.check_for(2 * LONG_ROUND_SECONDS) == {}


@given(st.integers(1, 5))
def test_a_long_round_that_gets_on_is_not_stuck(hours: int) -> None:
    observer = Observer(JobStats("acme", 60.0, started_runs=1))
    for number in range(2 * hours):
        observer.jobs[0] = replace(observer.jobs[0], progress=number)
        assert observer.check_for(LONG_ROUND_SECONDS / 2) == {}


def test_the_store_is_stuck_when_it_gives_no_answer_for_longer_than_a_long_transaction() -> None:
    observer = Observer()
    assert observer.check_for(LONG_TRANSACTION_SECONDS, store_lives=False) == {}
    assert list(observer.check_for(TOLERANCE_SECONDS + 2 * TICK, store_lives=False)) == [STORE]
    assert observer.check_for(TICK) == {}


@given(gaps, st.floats(60.0, 1e7))
def test_time_that_the_daemon_did_not_live_through_is_nobodys_fault(between: list[float], frozen: float) -> None:
    """A frozen process, a suspended machine, a clock that goes back: one look after it says nothing."""
    observer = Observer(JobStats("acme", TOLERANCE_SECONDS))
    for gap in between[:5]:
        observer.check(gap)
    assert observer.check(frozen) == {}
    assert observer.check(-frozen) == {}


@given(gaps)
def test_seconds_lived_are_never_more_than_the_gap_and_never_less_than_none(between: list[float]) -> None:
    for gap in (*between, -1.0):
        assert 0.0 <= running_seconds(gap, TICK) <= max(0.0, gap)
        assert running_seconds(gap, TICK) <= 2 * TICK


def test_a_job_made_anew_under_the_same_name_begins_anew() -> None:
    observer = Observer(JobStats("acme", 60.0, number=0))
    observer.check_for(60.0 + TOLERANCE_SECONDS - 2 * TICK)
    observer.jobs = [JobStats("acme", 60.0, number=1)]
    assert observer.check_for(60.0) == {}


def test_a_job_that_is_gone_is_forgotten() -> None:
    observer = Observer(JobStats("acme", 60.0))
    assert observer.check_for(300.0) != {}
    observer.jobs = []
    assert observer.check_for(300.0) == {}


def test_even_an_impatient_watchdog_leaves_the_time_to_notice_a_jump_of_the_clock() -> None:
    observer = Observer(JobStats("acme", 0.2), tolerance_seconds=1.0)
    assert observer.check_for(LEAST_TOLERANCE_SECONDS - 2 * TICK) == {}


@given(st.integers(0, 3), st.booleans(), st.floats(0.0, 100.0))
def test_a_first_round_is_attempted_when_it_is_over_or_has_had_its_time(ended: int, running: bool, ago: float) -> None:
    pulse = JobStats(
        "acme", 60.0, answer_seconds=30.0, started_runs=ended + running, ended_runs=ended, started_at=1_000.0
    )
    assert pulse.is_first_round_over(1_000.0 + ago) is (ended > 0 or (running and ago >= 30.0))
