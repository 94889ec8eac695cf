"""The log of changes to an account, from which earlier states and deleted records are restored."""

from collections import deque
from collections.abc import Callable

from msgspec import Struct

from notifier.sandbox.account import Account
from notifier.sandbox.records import Record

_CHANGES_KEPT = 100_000


class _Change(Struct, frozen=True):
    at: float
    before: Record | None
    after: Record | None


class ChangeLog:
    """Records the changes of an account and keeps the last 100,000 of them. `clock` returns monotonic seconds."""

    def __init__(self, account: Account, clock: Callable[[], float]) -> None:
        self._account = account
        self._clock = clock
        self._changes: deque[_Change] = deque(maxlen=_CHANGES_KEPT)
        self._deleted: dict[int, Record] = {}
        account.on_change(self._record_change)

    def records(self, seconds_ago: float) -> list[Record]:
        """Return the records of the account as they were `seconds_ago`, in the order of the list."""
        since = self._clock() - seconds_ago
        forms: dict[int, Record | None] = {}
        for change in reversed(self._changes):
            if change.at <= since:
                break
            # Changes are read newest first, so that the oldest change of a record overwrites its newer ones.
            for record in filter(None, (change.after, change.before)):
                forms[record.id] = change.before
        unchanged = [record for record in self._account.records() if record.id not in forms]
        if not forms:
            return unchanged
        former = [record for record in forms.values() if record is not None]
        return sorted([*unchanged, *former], key=self._account.order, reverse=True)

    def deleted(self) -> dict[int, Record]:
        """Return the deleted records by id, in the order of deletion, each as it was before its deletion."""
        return dict(self._deleted)

    def _record_change(self, before: Record | None, after: Record | None) -> None:
        self._changes.append(_Change(self._clock(), before, after))
        if after is not None:
            self._deleted.pop(after.id, None)
        elif before is not None:
            self._deleted[before.id] = before
