"""Checks safety: every event is true. The change that it reports happened in the account, and is reported once."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

from tests.simulation.account import Account, RecordChange, RecordState, v1_key_prefix
from tests.simulation.faulty_api import ID_SHIFT
from tests.simulation.findings import Findings, WatchState
from tests.simulation.profiles import Profile
from tests.simulation.system_under_test import InMemoryStateFile, ReportedEvent, count_entities, entity_of

FIRST_CONTACT_SECONDS: Final = 10.0
"""How much earlier than in truth the program may place its first contact with the API."""

_SETTLED_SECONDS: Final = 60.0


class Safety:
    """Compares the events of each record with what really happened to the record."""

    def __init__(
        self, profile: Profile, account: Account, state_file: InMemoryStateFile, contact: WatchState, findings: Findings
    ) -> None:
        self._profile = profile
        self._account = account
        self._state_file = state_file
        self._contact = contact
        self._findings = findings
        self._fail, self._fail_untrue = findings.fail, findings.fail_untrue
        self._reported_index: dict[int, int] = {}
        self._reported_state: dict[int, RecordState | None] = {}
        self._position_v1: dict[str, int] = {}
        self._revisions: set[tuple[str, int]] = set()
        self.sequence = 0
        """The sequence number of the last event that was checked."""
        self.events: Counter[str] = Counter()
        self.created: set[int] = set()
        """The ids of the records that were reported as entered."""
        self.reported_v1: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """The number of events of each kind about records without an id, by the prefix of their v1 keys."""

    def note_switch_to_v2(self) -> None:
        """Note that keys are now those of v2, and that records stored under v1 keys count as reported."""
        known = count_entities(self._state_file.known_keys())
        for number, record in self._account.records.items():
            if known[v1_key_prefix(record)]:
                self._reported_index[number] = len(self._account.histories[number]) - 1
                self._reported_state[number] = self._account.histories[number][-1].state

    def check_new_events(self) -> None:
        """Check the events since the last call."""
        told = self._state_file.events_after(self.sequence)
        for event in told:
            self.sequence = event.sequence
            self.events[event.kind] += 1
            if (event.key, event.revision) in self._revisions:
                self._fail("safety/told_twice", event.key, f"revision {event.revision} of {event.key} was told before")
            self._revisions.add((event.key, event.revision))
            if event.key.startswith("v1-"):
                self.reported_v1[entity_of(event.key)][event.kind] += 1
            else:
                self._check_event(event)
            self._check_net(event)
        without_id = [event for event in told if event.key.startswith("v1-")]
        for base in dict.fromkeys(entity_of(event.key) for event in without_id):
            removed = any(event.kind == "removed" and entity_of(event.key) == base for event in without_id)
            self._check_days(base, removed=removed)

    def _check_event(self, event: ReportedEvent) -> None:
        number, key = int(event.key) % ID_SHIFT, str(int(event.key) % ID_SHIFT)
        if key in self._findings.untrue:
            return
        history: Sequence[RecordChange] = self._account.histories.get(number, ())
        if not history:
            self._fail_untrue("safety/unknown", key, f"{event.kind} {event.key}, which never was")
            return
        wanted = None if event.kind == "removed" else event.state
        place = self._find_change(event.kind, wanted, number, history)
        if place is None or self._contradicts(event, number):
            self._fail_untrue(self._violation_kind(event, number, wanted, history), key, _describe(event, history))
            return
        if event.previous is not None and not _previous_is_true(event, history[: place + 1]):
            text = f"before, it was said to be {dict(event.previous)}; {_describe(event, history)}"
            self._fail_untrue("safety/previous", key, text)
        if event.kind == "created":
            self.created.add(number)
        self._reported_index[number], self._reported_state[number] = place, wanted

    def _find_change(
        self, kind: str, wanted: RecordState | None, number: int, history: Sequence[RecordChange]
    ) -> int | None:
        """Return the index of the change that an event reports: the first possible one after the last reported change.

        Changes may be skipped, because two of them may happen between two polls. A record that is reported as entered
        must have appeared since the last report, and not before the first contact.
        """
        reported_index = self._reported_index.get(number, -1 if kind == "created" else 0)
        appeared = False
        for place in range(reported_index + 1, len(history)):
            moment = history[place]
            appears = moment.state is not None and (place == 0 or history[place - 1].state is None)
            appeared = appeared or (appears and not (place == 0 and self._is_history(number, moment)))
            if states_agree(wanted, moment.state) and (appeared or kind != "created"):
                return place
        return None

    def _contradicts(self, event: ReportedEvent, number: int) -> bool:
        """Return whether an event cannot follow the last event of its record."""
        if number not in self._reported_state:
            return False
        return (self._reported_state[number] is None) != (event.kind == "created")

    def _violation_kind(
        self, event: ReportedEvent, number: int, wanted: RecordState | None, history: Sequence[RecordChange]
    ) -> str:
        match event.kind:
            case "removed":
                return "safety/removed_false"
            case "created" if number not in self._reported_index and self._is_history(number, history[0]):
                return "safety/history_told"
            case "created":
                return "safety/created_again"
            case _ if self._reported_state.get(number, wanted) is None:
                return "safety/updated_gone"
            case _ if any(states_agree(wanted, moment.state) for moment in history):
                return "safety/updated_old"
            case _:
                return "safety/updated_false"

    def _is_history(self, number: int, first: RecordChange) -> bool:
        """Return whether a record existed before the first contact, or was entered while the filters excluded it."""
        if first.kind == "begin" or number in self._contact.hidden:
            return True
        return (
            self._contact.first_read_at is not None and first.at < self._contact.first_read_at - FIRST_CONTACT_SECONDS
        )

    def _check_days(self, base: str, *, removed: bool) -> None:
        """Check the events of equal v1 records by the stored records.

        At some time, all stored records must have existed together. If a removal was reported, the account must at some
        time have had at most as many equal records as are stored.
        """
        if base in self._findings.untrue:
            return
        begin = self._position_v1.get(base, 0)
        days, history = Counter(self._state_file.stored_days(base)), self._account.bases.get(base, [])
        truth = [Counter(days) for _, days in history]
        present = [place for place in range(begin, len(truth)) if days <= truth[place]]
        absent = [place for place in range(begin, len(truth)) if not removed or truth[place].total() <= days.total()]
        if present and absent:
            self._position_v1[base] = min(present[0], absent[0])
        else:
            self._fail_untrue(
                "safety/v1_untrue", base, f"after it was told, {days} are believed; the truth was {truth}"
            )

    def _check_net(self, event: ReportedEvent) -> None:
        wanted = self._profile.only_net
        if (
            wanted is None
            or self._contact.scanned_at is None
            or self._account.now() < self._contact.scanned_at + _SETTLED_SECONDS
        ):
            return
        allowed = {"head": ("head",), "count": ("head", "count")}[wanted]
        if event.net not in allowed:
            self._fail("liveness/other_net", event.key, f"{event.kind} {event.key} was found by {event.net}")


def states_agree(told: RecordState | None, true: RecordState | None) -> bool:
    """Return whether two states agree; attachments are ignored if the API left `files` out."""
    if told is None or true is None or told.has_attachments is not None:
        return told == true
    return told == true._replace(has_attachments=None)


def _previous_is_true(event: ReportedEvent, history: Sequence[RecordChange]) -> bool:
    """Return whether a record ever had the earlier state that an update names."""
    if not all(name in RecordState._fields for name in event.previous or ()):
        return True
    before = event.state._replace(**(event.previous or {}))
    return any(states_agree(before, moment.state) for moment in history)


def _describe(event: ReportedEvent, history: Sequence[RecordChange]) -> str:
    forms: list[Any] = [
        (
            round(moment.at, 2),
            moment.state and (moment.state.user_id[-2:], moment.state.completed_on, moment.state.notes),
        )
        for moment in history
    ]
    told = (event.state.user_id[-2:], event.state.completed_on, event.state.notes)
    return f"{event.kind} {event.key} as {told}; the truth: {forms}"
