"""What is remembered of a source between two runs."""

from sqlite_utils import Database

from notifier.ledger import sources
from notifier.ledger.sources import SourceError, SourceMemory

ERROR = SourceError("rate_limit_exceeded", "too many requests", 5000)


def test_a_source_never_heard_of_has_not_been_met(db: Database) -> None:
    assert sources.recall(db, "globex") == SourceMemory()
    assert sources.everything(db) == {"acme": SourceMemory(), "globex": SourceMemory()}


def test_the_first_meeting_is_fixed_once(db: Database) -> None:
    sources.meet(db, "acme", 1000)
    sources.meet(db, "acme", 900)
    sources.meet(db, "acme", 2000)
    assert sources.recall(db, "acme").met_at_ms == 1000


def test_a_failure_is_remembered_with_its_silence(db: Database) -> None:
    memory = sources.fail(db, "acme", ERROR, 65_000)
    assert memory == sources.recall(db, "acme")
    assert (memory.error, memory.silent_until_ms, memory.silent_reason) == (ERROR, 65_000, "rate_limit_exceeded")


def test_a_failure_without_a_silence_does_not_end_the_one_that_is_on(db: Database) -> None:
    sources.fail(db, "acme", ERROR, 65_000)
    timeout = SourceError("timeout", "no answer", 6000)
    memory = sources.fail(db, "acme", timeout, None)
    assert (memory.error, memory.silent_until_ms, memory.silent_reason) == (timeout, 65_000, "rate_limit_exceeded")


def test_success_ends_the_silence_and_keeps_the_error_to_be_read(db: Database) -> None:
    sources.fail(db, "acme", ERROR, 65_000)
    memory = sources.succeed(db, "acme", 70_000)
    assert memory == SourceMemory(last_success_ms=70_000, error=ERROR)


def test_the_place_to_read_down_to_only_deepens_until_a_round_succeeds(db: Database) -> None:
    sources.read_head_until(db, "acme", 3)
    sources.read_head_until(db, "acme", 2)
    assert sources.recall(db, "acme").head_until == 3
    sources.read_head_until(db, "acme", 4)
    assert sources.recall(db, "acme").head_until == 4
    assert sources.succeed(db, "acme", 1000).head_until is None


def test_sources_do_not_disturb_each_other(db: Database) -> None:
    sources.recall(db, "globex")
    sources.meet(db, "globex", 1000)
    sources.fail(db, "globex", ERROR, 65_000)
    sources.read_head_until(db, "globex", 3)
    assert sources.recall(db, "acme") == SourceMemory()
