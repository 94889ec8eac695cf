"""The oracle of the simulation: it compares events, stored records, requests and conditions with the true account.

- Safety: every event is true. The change that it reports happened in the account, and is reported once, under one id.
- Liveness: each change is reported in time (`bounds`), and no condition remains at the end.
- Cost: requests stay within the budget, and their number is in proportion to the changes.
- Voice: a condition reports any change that is withheld, or difference that is unexplained, for more than ten minutes.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from notifier.sandbox.records import Version
from tests.simulation import bounds
from tests.simulation.account import Account, RecordState, View
from tests.simulation.bounds import Bounds
from tests.simulation.exchange import SentRequest
from tests.simulation.faulty_api import ID_SHIFT, UNREADABLE
from tests.simulation.findings import Findings, Violation, WatchState
from tests.simulation.loop import true_ms
from tests.simulation.plans import Plan
from tests.simulation.safety import FIRST_CONTACT_SECONDS, Safety, states_agree
from tests.simulation.system_under_test import InMemoryStateFile, StoredRecord, SystemUnderTest, entity_of

_MINUTE: Final = 60.0
_NEARLY_ALL: Final = 0.9

_HABIT_CONDITIONS: Final[Mapping[str, frozenset[str]]] = {
    "count_high": frozenset({"count_unexplained"}),
    "total_high": frozenset({"count_unexplained"}),
    "ties": frozenset({"list_unsearchable"}),
    "oldest_first": frozenset({"list_unsearchable"}),
    "capped": frozenset({"list_unsearchable"}),
    "no_paging": frozenset({"list_unsearchable"}),
    "unreadable": frozenset({"records_unreadable"}),
}
"""The conditions that are correct as long as the API has a habit, by habit."""

_LATE_ENDING: Final = frozenset({"answers_disagree", "records_renumbered", "list_unsearchable"})
"""The conditions that may last a while longer than their cause."""

_HELD: Final = frozenset({"removals_held", "arrivals_held", "changes_held"})
"""The conditions that say that changes are held until an operator decides."""

_EXHAUSTING: Final = frozenset({"budget_exhausted", "list_unsearchable"})
"""The conditions that may explain a used-up budget of requests."""

_UNSEARCHABLE: Final = frozenset({"capped", "oldest_first", "ties"})
"""The habits of the API with which only scans find changes below the first page."""

_WRONG_COUNT_SPELLS: Final = frozenset({"old", "replica", "half", "empty", "count_off"})
"""The spells in which the API's count may be wrong."""

_LEAVING: Final = frozenset({"delete", "move_date", "move_person", "move_both"})
"""The actions after which a record is no longer at its known place in the list."""

_LONG_REMEMBERED: Final = frozenset({"records_renumbered"})


class Oracle:
    """Checks one world, and reports each kind of violation once for each record."""

    def __init__(
        self, plan: Plan, account: Account, state_file: InMemoryStateFile, report: Callable[[Violation], None]
    ) -> None:
        self._profile = plan.profile
        self._account = account
        self._state_file = state_file
        self._findings = Findings(account.now, report)
        self._fail = self._findings.fail
        self._spells = plan.spells
        self._habits = frozenset(plan.profile.habits)
        self._ignored = UNREADABLE if "unreadable" in self._habits else frozenset()
        self._deadlines: list[tuple[float, int, int]] = []
        self._wrong_since: dict[str, float] = {}
        self._unreported_seconds: defaultdict[str, float] = defaultdict(float)
        self._evident_seconds: defaultdict[str, float] = defaultdict(float)
        self._exhausted_since: float | None = None
        self._settled_at = 0.0
        self.bounds = Bounds.for_profile(plan.profile, len(plan.entries))
        self.contact = WatchState(Version(plan.profile.api))
        self._safety = Safety(plan.profile, account, state_file, self.contact, self._findings)

    # Notifications from the world

    def note_change(self, number: int) -> None:
        """Note that somebody has changed a record. In a world without faults, this sets a deadline for its event."""
        if number in self._account.records:
            self.contact.note_change(self._account.records[number])
        if not self._profile.is_faultless or self.contact.version is Version.V1:
            return
        history = self._account.histories[number]
        moment = history[-1]
        at_top = moment.state is not None and moment.place <= self._profile.page and moment.kind == "enter"
        out_of_sight = self.bounds.difference if self._profile.far_pairs else self.bounds.scan
        limit = self.bounds.head if at_top else out_of_sight
        if self.contact.scanned_at is not None and (at_top or self._profile.repeats_scans or self._profile.far_pairs):
            self._deadlines.append((moment.at + limit, number, len(history) - 1))

    def note_reload(self, view: View, version: Version) -> None:
        """Note that the source now uses other filters or another version of the API."""
        if version is not self.contact.version:
            self._safety.note_switch_to_v2()
        self.contact.view_since = self._account.now()
        self.contact.view, self.contact.version = view, version

    def check_new_events(self) -> None:
        """Check the events since the last call."""
        self._safety.check_new_events()

    @property
    def last_sequence(self) -> int:
        """The sequence number of the last event that was checked."""
        return self._safety.sequence

    @property
    def events(self) -> Counter[str]:
        """The number of events of each kind."""
        return self._safety.events

    # Checks of voice and liveness during the run

    def check_minute(self, system: SystemUnderTest, sent: Sequence[SentRequest]) -> None:
        """Check the state of the system; the world calls this once a minute."""
        self.check_new_events()
        now = self._account.now()
        for fault in self._state_file.inconsistencies():
            self._fail("invariant", fault, fault)
        if self.contact.scanned_at is None and self._state_file.is_scanned():
            self.contact.scanned_at = now
        conditions = system.conditions()
        self._check_deadlines(now, conditions)
        self._check_exhaustion(now, sent, conditions)
        self._check_withheld(system, conditions)
        if self.contact.scanned_at is None or not system.is_well:
            return
        self._check_wrong(now, system, conditions)

    def _check_wrong(self, now: float, system: SystemUnderTest, conditions: Mapping[str, str]) -> None:
        """Check that a condition reports wrong records and, in a world without faults, that they are corrected in time.

        Only the time counts in which the API's count shows the fault: both all wrong records together, and those that
        have been wrong for longer than `confirmed`, must leave a difference in the direction of this record. Records
        that wait for a second look are left out. Only scans find an entry and a deletion that cancel out.
        """
        missing, ghosts = self.differences()
        wrong = missing + ghosts
        self._wrong_since = {entity: self._wrong_since.get(entity, now) for entity in wrong}
        for known in (self._unreported_seconds, self._evident_seconds):
            for entity in [entity for entity in known if entity not in wrong]:
                del known[entity]
        if "no_paging" in self._habits or self._is_count_wrong(now):
            return
        noticed = {self._entity(withheld.key) for withheld in system.withheld()}
        unnoticed = [entity for entity in wrong if entity not in noticed]
        old = [entity for entity in unnoticed if now - self._wrong_since[entity] > self.bounds.confirmed]
        shown, lasting = (
            sum(missing[entity] - ghosts[entity] for entity in entities) + ("count_high" in self._habits)
            for entities in (unnoticed, old)
        )
        for entity in old:
            direction = 1 if missing[entity] else -1
            if shown * direction <= 0 or lasting * direction <= 0:
                continue
            if not conditions:
                self._unreported_seconds[entity] += _MINUTE
            if not set(conditions) & _HELD:
                self._evident_seconds[entity] += _MINUTE
            if self._unreported_seconds[entity] > self.bounds.voice:
                self._fail("voice/quiet", "", f"{entity} is not as believed for ten minutes, and nothing says so")
            if self._profile.is_faultless and self._evident_seconds[entity] > self.bounds.difference:
                self._fail("liveness/difference", "", f"{entity} is not as believed, and the count says so in vain")

    def _is_count_wrong(self, now: float) -> bool:
        """Return whether the API's count may differ from the present account."""
        return any(spell.kind in _WRONG_COUNT_SPELLS and spell.begin <= now < spell.end for spell in self._spells)

    def _check_withheld(self, system: SystemUnderTest, conditions: Mapping[str, str]) -> None:
        if conditions or self._profile.clock_jumps:
            # The wall clock gives the time since when a change is withheld; this is useless if the clock jumps.
            return
        for withheld in system.withheld():
            if self._account.now() - withheld.since > self.bounds.voice + self._profile.confirm_after:
                self._fail("voice/withheld", withheld.key, f"{withheld.key} is withheld ({withheld.reason}), unsaid")

    def _check_exhaustion(self, now: float, sent: Sequence[SentRequest], conditions: Mapping[str, str]) -> None:
        allowed = self._profile.requests_per_minute * _NEARLY_ALL
        last_minute = len(sent) - bisect_right(sent, now - _MINUTE, key=lambda request: request.at)
        if last_minute < allowed or set(conditions) & _EXHAUSTING:
            self._exhausted_since = None
        elif self._exhausted_since is None:
            self._exhausted_since = now
        elif now - self._exhausted_since > self.bounds.voice and self.contact.scanned_at is not None:
            self._fail("voice/exhausted", "", f"the budget is used up since {self._exhausted_since:.0f} s, unsaid")

    def _check_deadlines(self, now: float, conditions: Mapping[str, str]) -> None:
        if set(conditions) & _HELD:
            # Held changes wait for an operator, so all deadlines are postponed.
            self._deadlines = [
                (max(at, now + self.bounds.confirmed), number, place) for at, number, place in self._deadlines
            ]
        due = [deadline for deadline in self._deadlines if deadline[0] <= now]
        self._deadlines = [deadline for deadline in self._deadlines if deadline[0] > now]
        for _, number, place in due:
            history = self._account.histories[number]
            # A later change of the record has its own deadline.
            if place == len(history) - 1 and str(number) not in self._findings.untrue:
                moment, stored = history[place], self._state_file.stored_record(str(number))
                if not _agrees(stored, moment.state):
                    what = f"{moment.kind} {number} at {moment.at:.0f} s (place {moment.place})"
                    self._fail("liveness/late", str(number), f"{what} is not told; known: {stored}")

    # Checks of liveness at the end

    def differences(self) -> tuple[Counter[str], Counter[str]]:
        """Return the records that the store lacks, and the records that it has although they do not exist."""
        truth = self._account.count_expected(self.contact.view, self.contact.version, self._ignored)
        stored = Counter(self._entity(key) for key in self._state_file.known_keys())
        ghosts = stored - truth
        if self.contact.view != View():
            for number, record in self._account.records.items():
                if not self.contact.view.includes(record):
                    del ghosts[str(number)]
        return truth - stored, ghosts

    def check_settled(self, conditions: Mapping[str, str]) -> None:
        """Check, a while after the last change, that the numbers of records agree.

        If an entry and a deletion cancelled out and one of them was found only recently, the other one has more time.
        """
        self._settled_at = self._account.now()
        self.check_new_events()
        missing, ghosts = (
            Counter({entity: n for entity, n in wrong.items() if self._evident_seconds[entity] > self.bounds.confirmed})
            for wrong in self.differences()
        )
        balance = missing.total() - ghosts.total() + ("count_high" in self._habits)
        if balance and not self._habits & {*_UNSEARCHABLE, "no_paging"}:
            self._findings.fail_each("liveness/late_missing", missing, "is not known")
            self._findings.fail_each("liveness/late_ghost", ghosts, "was deleted and is still known")
        if not any(self.differences()):
            self._check_remaining_conditions(
                conditions, self._habit_conditions() | _LATE_ENDING, "liveness/condition_late"
            )

    def check_end(self, system: SystemUnderTest) -> None:
        """Check at the end that the store agrees with the account, all is reported, and no condition remains."""
        self.check_new_events()
        missing, ghosts = self.differences()
        self._findings.fail_each("liveness/missing", missing, "is not known")
        self._findings.fail_each("liveness/ghost", ghosts, "was deleted and is still known")
        stored_records = self._state_file.stored_records()
        if self.contact.version is Version.V2:
            self._check_states(stored_records)
        else:
            self._check_days()
        self._check_remaining_conditions(
            system.conditions(), self._habit_conditions() | _LONG_REMEMBERED, "liveness/condition_left"
        )
        if self._profile.is_faultless and self._state_file.accepted_count_offset():
            self._fail(
                "voice/absorbed",
                "",
                f"a difference of {self._state_file.accepted_count_offset()} is taken to be for good",
            )
        for withheld in system.withheld():
            self._fail("liveness/withheld", withheld.key, f"{withheld.key} is still withheld: {withheld.reason}")

    def _check_states(self, stored_records: Mapping[str, StoredRecord]) -> None:
        by_entity = {self._entity(key): stored for key, stored in stored_records.items()}
        for number, record in self._account.in_view(self.contact.view).items():
            stored = by_entity.get(str(number))
            if number in self._ignored or stored is None or stored.is_removed or str(number) in self._findings.untrue:
                continue
            history = self._account.histories[number]
            if not _agrees(stored, history[-1].state):
                self._fail(
                    "liveness/stale", str(number), f"{number} is known as {stored.state}, is {history[-1].state}"
                )
            appeared = history[0].at
            if number not in self._safety.created | self.contact.hidden and self._is_news(appeared, record.created):
                text = f"{number}, entered at {appeared:.0f} s, was never told ({stored.reason})"
                self._fail("liveness/silent", str(number), text)

    def _is_news(self, appeared: float, created_ms: int) -> bool:
        """Return whether a record that appeared at a time must be reported as entered."""
        if self.contact.first_read_at is None or appeared <= self.contact.first_read_at:
            return False
        if self.contact.view_since and appeared <= self.contact.view_since + self.bounds.head:
            return False
        since_contact = created_ms >= true_ms(self.contact.first_read_at)
        return since_contact or (self.contact.scanned_at is not None and appeared > self.contact.scanned_at)

    def _check_days(self) -> None:
        """Check that the number of equal v1 records that were reported as entered is correct."""
        if self.contact.scanned_at is None or self.contact.first_read_at is None:
            return
        for base, history in self._account.bases.items():
            if base in self._findings.untrue:
                continue
            told = self._safety.reported_v1[base]["created"] - self._safety.reported_v1[base]["removed"]
            now = len(history[-1][1])
            begin = self.contact.first_read_at - FIRST_CONTACT_SECONDS
            least = now - _max_number_until(history, self.contact.scanned_at)
            most = max(0, now - _min_number_between(history, begin, self.contact.scanned_at))
            if not least <= told <= most:
                self._fail(
                    "liveness/silent", base, f"{told} of {base} are told, between {least} and {most} were entered"
                )

    def _check_remaining_conditions(self, conditions: Mapping[str, str], allowed: Iterable[str], kind: str) -> None:
        for name in sorted(set(conditions) - set(allowed)):
            self._fail(kind, name, f"{name} stands though all is well: {conditions[name]}")

    # Cost

    def check_cost(self, sent: Sequence[SentRequest], rest_at: float, restarts: Sequence[float]) -> None:
        """Check the number of requests: in each minute, and in the time without changes."""
        now, limit = self._account.now(), self._profile.requests_per_minute
        times = [request.at for request in sent]
        for place, at in enumerate(times):
            in_minute = bisect_right(times, at + _MINUTE - 1e-6) - place
            # A new process does not know how many requests the process before it has used.
            begun = sum(at - 1 <= restart < at + _MINUTE for restart in restarts)
            if in_minute > limit * (1 + begun):
                self._fail("cost/budget", "", f"{in_minute} requests in the minute from {at:.0f} s, {limit} allowed")
        quiet_at = max(rest_at + self.bounds.scan, now - 3600)
        quiet = [request for request in sent if request.at > quiet_at]
        if now - quiet_at < self._profile.poll * 10:
            return
        settled = now - max(quiet_at, self._settled_at)
        precise = sum(request.is_precise for request in quiet)
        if precise > bounds.max_precise_questions_when_idle(self._profile, len(self._account.records)):
            self._fail("cost/precise", "", f"{precise} precise questions in {now - quiet_at:.0f} s of rest")
        enough = bounds.max_requests_when_idle(self._profile, len(self._account.records), now - quiet_at, settled)
        if len(quiet) > enough and not self._habits & _UNSEARCHABLE:
            self._fail(
                "cost/rest", "", f"{len(quiet)} requests in {now - quiet_at:.0f} s of rest, {enough:.0f} would do"
            )
        self._check_cost_of_changes(sent, rest_at)

    def _check_cost_of_changes(self, sent: Sequence[SentRequest], rest_at: float) -> None:
        if not self._profile.is_faultless:
            return
        changes = sum(len(history) - 1 for history in self._account.histories.values())
        changes += sum(history[0].kind != "begin" for history in self._account.histories.values())
        moments = [moment for history in self._account.histories.values() for moment in history]
        gone = sum(moment.kind in _LEAVING for moment in moments)
        equal = sum(moment.kind == "twin" for moment in moments)
        precise = sum(request.is_precise for request in sent)
        if precise > bounds.max_precise_questions(gone, equal):
            self._fail("cost/precise", "", f"{precise} precise questions, where {gone} records left their place")
        polls = 2 * (rest_at / self._profile.poll + 1)
        enough = polls + bounds.max_requests_besides_polls(self._profile, len(self._account.records), changes, rest_at)
        used = sum(request.at < rest_at for request in sent)
        if used > enough:
            self._fail("cost/changes", "", f"{used} requests for {changes} changes, {enough:.0f} would do")

    # Helpers

    def _entity(self, key: str) -> str:
        return entity_of(key) if key.startswith("v1-") else str(int(key) % ID_SHIFT)

    def _habit_conditions(self) -> frozenset[str]:
        return frozenset().union(*(_HABIT_CONDITIONS.get(habit, frozenset()) for habit in self._habits))


def _agrees(stored: StoredRecord | None, form: RecordState | None) -> bool:
    if form is None:
        return stored is None or stored.is_removed
    return stored is not None and not stored.is_removed and states_agree(stored.state, form)


def _max_number_until(history: Sequence[tuple[float, tuple[str, ...]]], seconds: float) -> int:
    """Return the largest number of equal records until a time: as many may have been stored without an event."""
    return max((len(days) for at, days in history if at <= seconds), default=0)


def _min_number_between(history: Sequence[tuple[float, tuple[str, ...]]], begin: float, end: float) -> int:
    """Return the lowest number of equal records between two times: at least as many are stored without an event."""
    at_begin = next((len(days) for at, days in reversed(history) if at <= begin), 0)
    return min([at_begin, *(len(days) for at, days in history if begin < at <= end)])
