"""That the state file was rebuilt, as people are told of it."""

from dataclasses import replace

from notifier.daemon.rebuilt import conditions
from notifier.ledger.rebuilding.rebuilds import Rebuild
from notifier.ledger.sources import SourceMemory

AT = 1_795_280_400_123
REBUILD = Rebuild(AT, "file is not a database", "/state/notifier.db.damaged-20261121T170000Z", "events, records")
SWEPT, NOT_SWEPT = SourceMemory(swept_at_ms=AT + 1), SourceMemory(swept_at_ms=AT - 1)


def test_it_says_what_was_wrong_what_was_lost_and_where_the_old_one_lies() -> None:
    (condition,) = conditions(REBUILD, [SWEPT, NOT_SWEPT])
    assert condition.key == ("state_rebuilt", "store")
    assert condition.summary == (
        "the state file was damaged (file is not a database) and was rebuilt at 2026-11-21T17:00:00.123Z; what could"
        " not be read: events, records; it lies in /state/notifier.db.damaged-20261121T170000Z, and may be deleted once"
        " nobody wants to look into it. Events go on under the same ids. This ends when every source has been swept;"
        " check the disk"
    )


def test_it_says_so_when_nothing_was_lost_or_nothing_left() -> None:
    (condition,) = conditions(replace(REBUILD, lost="nothing", set_aside=None), [NOT_SWEPT])
    assert "; nothing was lost; nothing was left of it." in condition.summary


def test_it_is_over_when_every_source_was_swept_since() -> None:
    assert list(conditions(REBUILD, [SWEPT, SWEPT])) == []
    assert len(list(conditions(REBUILD, [SourceMemory()]))) == 1


def test_a_file_that_never_was_rebuilt_has_no_such_condition() -> None:
    assert list(conditions(None, [NOT_SWEPT])) == []
