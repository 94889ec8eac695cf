"""The simulated API: it answers requests from the account, with the faults that the plan contains."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from notifier.sandbox.records import Record, Version
from tests.simulation.account import Account
from tests.simulation.loop import true_ms
from tests.simulation.plans import Fate, Plan, Spell

UNREADABLE: Final = frozenset({1003, 1007})
"""The ids of the records that have an invalid date if the API has the habit `unreadable`."""

ID_SHIFT: Final = 1_000_000
"""The number that is added to all ids during the spell `renumbered`."""

_MAX_PAGE_RECORDS: Final = 8
_MAX_STALE_SHARE: Final = 0.8
"""The longest lag of a single stale answer, as a share of `confirm_after`. With a longer lag, a first answer and the
second look could both show the same outdated state.
"""

_REPLICA_SHARE: Final = 0.3
"""The share of head polls that a lagging replica answers. The other head polls get the present state."""

_LONGEST_OLD_SECONDS: Final = 300.0
_LONGEST_REPLICA_SECONDS: Final = 7200.0
_DAY_MS: Final = 86_400_000

_RATE_LIMITED: Final = b'{"ok":false,"error":"rate_limit_exceeded"}'
_SERVER_ERROR: Final = b'{"ok":false,"error":"server_error"}'


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the API: its body, its `Date`, the records in it, and a note for people about its faults."""

    body: bytes
    date_ms: int
    records: Sequence[Record] = ()
    note: str = ""


class FaultyApi:
    """Decides which faults each request has, and makes the answers."""

    def __init__(self, plan: Plan, account: Account) -> None:
        self._plan = plan
        self._account = account
        self._habits = frozenset(plan.profile.habits)
        self.fates: dict[int, Fate] = {}
        """The fates of all requests so far, by the number of the request."""

    def fate(self, number: int, seconds: float) -> Fate:
        """Return the fate of a request from the plan or, if the plan has no fates, from its seed."""
        fate = self._draw_fate(number, seconds) if self._plan.fates is None else self._plan.fates.get(number, Fate())
        self.fates[number] = fate
        return fate

    def _draw_fate(self, number: int, seconds: float) -> Fate:
        profile, chance = self._plan.profile, random.Random(self._plan.seed * 1_000_003 + number)
        up, down, kind = 0.02 + 0.1 * chance.random(), 0.02 + 0.2 * chance.random(), ""
        if seconds < profile.active:
            if chance.random() < profile.slow:
                longest = chance.choice(((0.05, 5), (5, 0.05), (2, 3), (0.1, 25), (0.1, 1.5)))
                up, down = longest[0] * chance.random(), longest[1] * chance.random()
            roll = chance.random()
            for name, share in profile.fates.items():
                if roll < share:
                    kind = name
                    break
                roll -= share
        return Fate(up, down, kind, chance.random())

    def reply(self, method: str, parameters: Mapping[str, Any], fate: Fate, number: int, seconds: float) -> Reply:
        """Return the answer to a request that the API reads at `seconds` since the start."""
        date_ms = true_ms(seconds) + (_DAY_MS if "date_ahead" in self._habits and number == 1 else 0)
        if self._active_spell("rate_limited", seconds):
            return Reply(_RATE_LIMITED, date_ms, note="rate limit exceeded")
        if fate.kind == "error" or self._active_spell("down", seconds):
            return Reply(_SERVER_ERROR, date_ms, note="server error")
        version = Version.V2 if method.endswith("v2.list") else Version.V1
        as_of, notes = self._answer_time(parameters, fate, number, seconds)
        rows = _matching_records(self._account.list_at(as_of), parameters, version)
        if "oldest_first" in self._habits:
            rows.reverse()
        if "ties" in self._habits:
            shuffle = random.Random(self._plan.seed * 31 + number)
            rows.sort(key=lambda row: (-row.date_number, shuffle.random()))
        rows, count = self._visible_records(rows, seconds, notes)
        count += self._count_offset(fate, seconds, notes)
        limit = (
            min(parameters.get("limit", 100), _MAX_PAGE_RECORDS)
            if "capped" in self._habits
            else parameters.get("limit", 100)
        )
        page = self._answered_page(parameters.get("page", 1), fate, seconds, notes)
        chosen = _faulty_page(rows, page, limit, fate, notes)
        body = self._body(chosen, version, count, limit, seconds, notes)
        return Reply(body, date_ms, chosen, ", ".join(notes))

    def _active_spell(self, kind: str, seconds: float) -> Spell | None:
        return next(
            (each for each in self._plan.spells if each.kind == kind and each.begin <= seconds < each.end), None
        )

    def _answer_time(
        self, parameters: Mapping[str, Any], fate: Fate, number: int, seconds: float
    ) -> tuple[float, list[str]]:
        """Return the time of the state that the answer shows, and a note if it is not the present."""
        profile = self._plan.profile
        lag = fate.chance * _MAX_STALE_SHARE * profile.confirm_after if fate.kind == "stale" else 0.0
        if spell := self._active_spell("old", seconds):
            lag = seconds - spell.begin + spell.chance * _LONGEST_OLD_SECONDS
        spell = self._active_spell("replica", seconds)
        at_head = parameters.get("page", 1) == 1 and parameters.get("limit") == profile.page
        if spell and at_head and random.Random(self._plan.seed * 17 + number).random() < _REPLICA_SHARE:
            lag = 30 + spell.chance * _LONGEST_REPLICA_SECONDS
        return seconds - lag, [f"as of {lag:.0f} s ago"] if lag else []

    def _visible_records(self, rows: list[Record], seconds: float, notes: list[str]) -> tuple[list[Record], int]:
        """Return the records that the API lists, and the number of records that it counts."""
        if self._active_spell("empty", seconds):
            notes.append("an empty list")
            return [], 0
        if self._active_spell("half", seconds):
            notes.append("half of the list")
            rows = rows[: len(rows) // 2]
        count = len(rows)
        if spell := self._active_spell("lacking", seconds):
            notes.append("lacks records that it counts")
            rows = [row for row in rows if (row.id * 7919 + int(spell.chance * 1e6)) % 7]
        return rows, count

    def _count_offset(self, fate: Fate, seconds: float, notes: list[str]) -> int:
        off = 1 if "count_high" in self._habits else 0
        if fate.kind == "count_off":
            off += 1 if fate.chance < 0.5 else -1
        if spell := self._active_spell("count_off", seconds):
            off += round(1 + 3 * spell.chance) * (1 if spell.chance > 0.3 else -1)
        if off:
            notes.append(f"count off by {off}")
        return off

    def _answered_page(self, page: int, fate: Fate, seconds: float, notes: list[str]) -> int:
        at_first = "page_one_at_first" in self._habits and seconds < 1.2 * self._plan.profile.scan
        if (fate.kind == "page_one" or at_first) and page > 1:
            notes.append("page 1 instead")
            return 1
        return page

    def _body(
        self, rows: Sequence[Record], version: Version, count: int, limit: int, seconds: float, notes: list[str]
    ) -> bytes:
        absent: tuple[str, ...] = ()
        if self._active_spell("no_files", seconds):
            absent = ("files", "signature")
            notes.append("without `files`")
        shift = ID_SHIFT if self._active_spell("renumbered", seconds) else 0
        if shift:
            notes.append("other ids")
        shown = [self._json(row, version, absent, shift) for row in rows]
        count = max(0, count)
        paging: dict[str, int] = {}
        if "no_paging" not in self._habits:
            paging["last_page"] = max(1, -(-count // limit))
            if self._plan.profile.total:
                paging["total"] = count + ("total_high" in self._habits)
        return b'{"ok":true,"completedtrainings":[%b],"paging":%b}' % (b",".join(shown), orjson.dumps(paging))

    def _json(self, row: Record, version: Version, absent: tuple[str, ...], shift: int) -> bytes:
        shown = self._account.record_json(row, version, absent, shift)
        if "unreadable" in self._habits and row.id in UNREADABLE:
            name = b"date_number" if version is Version.V2 else b"dateNumber"
            return shown.replace(b'"%b":%d' % (name, row.date_number), b'"%b":"x"' % name)
        return shown


def _matching_records(rows: Sequence[Record], parameters: Mapping[str, Any], version: Version) -> list[Record]:
    """Return the records that pass the filters of a request."""
    user, about, attached = (parameters.get(name) for name in ("user_id", "training_id", "has_attachments"))
    found = [*rows]
    if user is not None:
        found = [row for row in found if row.user == user]
    if about is not None:
        found = [row for row in found if about == (row.training.v2 if version is Version.V2 else row.training.v1)]
    if attached is not None:
        found = [row for row in found if attached == bool(row.files)]
    return found


def _faulty_page(rows: Sequence[Record], page: int, limit: int, fate: Fate, notes: list[str]) -> list[Record]:
    """Return the records of a page, with the faults in the fate of its request."""
    begin = (page - 1) * limit
    if fate.kind == "shifted":
        begin = max(0, begin + (1 if fate.chance < 0.5 else -1))
    chosen = list(rows[begin : begin + limit])
    if not chosen or fate.kind not in ("short", "doubled", "shifted"):
        return chosen
    place = int(fate.chance * len(chosen))
    if fate.kind == "short":
        del chosen[place]
    elif fate.kind == "doubled":
        chosen[place] = chosen[place - 1]
    notes.append({"short": "lacks one record", "doubled": "one record twice", "shifted": "shifted"}[fate.kind])
    return chosen
