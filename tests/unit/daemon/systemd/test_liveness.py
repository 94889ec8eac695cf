"""Which parts are stuck: none that makes progress, all that do not, whatever the clock and the machine do."""

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
    """Checks repeatedly, as the watchdog does, while simulated time passes."""

    def __init__(self, *jobs: JobStats, tolerance_seconds: float = TOLERANCE_SECONDS) -> None:
        self.jobs = list(jobs)
        self.answers = 0
        self.seen: dict[str, Observation] = {}
        self.tolerance_seconds = tolerance_seconds

    def check(self, gap: float = TICK) -> dict[str, float]:
        """Check `gap` seconds after the previous check, and return what is stuck."""
        current = all_parts(self.jobs, self.answers, self.tolerance_seconds)
        self.seen = observe(self.seen, current, running_seconds(gap, TICK))
        return stuck_parts(self.seen, current)

    def check_for(self, seconds: float, *, store_lives: bool = True) -> dict[str, float]:
        """Check repeatedly for this time, and return what is stuck at the end."""
        found = self.check()
        for _ in range(int(seconds // TICK) + 1):
            self.answers += store_lives
            found = self.check()
        return found


@given(intervals, st.integers(0, 30), st.floats(0.0, 1.0))
def test_job_that_keeps_its_interval_is_never_stuck(interval: float, rounds: int, lateness: float) -> None:
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
def test_only_the_job_that_no_longer_starts_is_stuck_soon_after_its_interval(
    interval: float, runs: int, others: int
) -> None:
    still = JobStats("acme", interval, started_runs=runs, ended_runs=runs)
    observer = Observer(still, *(JobStats(f"other-{number}", 7 * 86_400) for number in range(others)))
    assert observer.check_for(interval + TOLERANCE_SECONDS - 2 * TICK) == {}
    assert list(observer.check_for(3 * TICK)) == ["acme"]


def test_round_without_progress_is_stuck_only_after_the_long_round_time() -> None:
    observer = Observer(JobStats("acme", 60.0, started_runs=5, ended_runs=4, progress=17))
    assert observer.check_for(LONG_ROUND_SECONDS) == {}
    assert list(observer.check_for(TOLERANCE_SECONDS + 2 * TICK)) == ["acme"]


def test_round_with_a_longer_answer_time_is_not_stuck_within_that_time() -> None:
    observer = Observer(JobStats("acme", 60.0, answer_seconds=2 * LONG_ROUND_SECONDS, started_runs=5, ended_runs=4))
    assert observer.check_for(2 * LONG_ROUND_SECONDS) == {}


@given(st.integers(1, 5))
def test_long_round_with_progress_is_not_stuck(hours: int) -> None:
    observer = Observer(JobStats("acme", 60.0, started_runs=1))
    for number in range(2 * hours):
        observer.jobs[0] = replace(observer.jobs[0], progress=number)
        assert observer.check_for(LONG_ROUND_SECONDS / 2) == {}


def test_store_without_an_answer_is_stuck_only_after_a_long_transaction() -> None:
    observer = Observer()
    assert observer.check_for(LONG_TRANSACTION_SECONDS, store_lives=False) == {}
    assert list(observer.check_for(TOLERANCE_SECONDS + 2 * TICK, store_lives=False)) == [STORE]
    assert observer.check_for(TICK) == {}


@given(gaps, st.floats(60.0, 1e7))
def test_stuck_parts_are_empty_after_a_frozen_process_or_a_clock_jump(between: list[float], frozen: float) -> None:
    """A frozen process, a suspended machine, a clock set back: the first check after it reports nothing."""
    observer = Observer(JobStats("acme", TOLERANCE_SECONDS))
    for gap in between[:5]:
        observer.check(gap)
    assert observer.check(frozen) == {}
    assert observer.check(-frozen) == {}


@given(gaps)
def test_running_seconds_are_between_zero_and_the_gap(between: list[float]) -> None:
    for gap in (*between, -1.0):
        assert 0.0 <= running_seconds(gap, TICK) <= max(0.0, gap)
        assert running_seconds(gap, TICK) <= 2 * TICK


def test_replaced_job_with_the_same_name_starts_a_new_interval() -> None:
    observer = Observer(JobStats("acme", 60.0, number=0))
    observer.check_for(60.0 + TOLERANCE_SECONDS - 2 * TICK)
    observer.jobs = [JobStats("acme", 60.0, number=1)]
    assert observer.check_for(60.0) == {}


def test_removed_job_is_not_stuck() -> None:
    observer = Observer(JobStats("acme", 60.0))
    assert observer.check_for(300.0) != {}
    observer.jobs = []
    assert observer.check_for(300.0) == {}


def test_tolerance_is_not_below_the_minimum_with_a_short_watchdog_limit() -> None:
    observer = Observer(JobStats("acme", 0.2), tolerance_seconds=1.0)
    assert observer.check_for(LEAST_TOLERANCE_SECONDS - 2 * TICK) == {}


@given(st.integers(0, 3), st.booleans(), st.floats(0.0, 100.0))
def test_first_round_is_over_when_it_ended_or_its_answer_time_has_passed(ended: int, running: bool, ago: float) -> None:
    pulse = JobStats(
        "acme", 60.0, answer_seconds=30.0, started_runs=ended + running, ended_runs=ended, started_at=1_000.0
    )
    assert pulse.is_first_round_over(1_000.0 + ago) is (ended > 0 or (running and ago >= 30.0))
