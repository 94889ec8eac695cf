"""Turns single rules of the program off, to check that the simulation notices it.

A switch names each attribute that it replaces (`module:attribute`), and the replacement. Each of the twelve rules of
detection has at least one switch. A switch whose attribute does not exist (`has_target` is false) must be corrected.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest import mock

from msgspec.structs import replace

from notifier.kpa.rate_limiter import Bucket, Priority
from notifier.store.tables import sources

Replacement = Callable[[Any], Any]
"""Returns the replacement of an attribute's value."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A rule that can be turned off, and the profiles that should show violations then, the likeliest first."""

    name: str
    patches: Sequence[tuple[str, Replacement]]
    profiles: Sequence[str]

    @property
    def has_target(self) -> bool:
        """Whether all attributes that the switch replaces exist."""
        return bool(self.patches) and all(_find_target(target) is not None for target, _ in self.patches)

    @contextmanager
    def turned_off(self) -> Iterator[None]:
        """Run the body of the `with` statement with the rule turned off."""
        with ExitStack() as stack:
            for target, replacement in self.patches:
                found = _find_target(target)
                if found is None:
                    raise LookupError(f"{self.name}: there is no {target}")
                owner, attribute, value = found
                stack.enter_context(mock.patch.object(owner, attribute, replacement(value)))
            yield


def _find_target(target: str) -> tuple[Any, str, Any] | None:
    """Return the owner of `module:Class.attribute`, the attribute's name and its value; None if it does not exist."""
    module, _, path = target.partition(":")
    try:
        owner: Any = importlib.import_module(module)
        *way, attribute = path.split(".")
        for name in way:
            owner = getattr(owner, name)
        return owner, attribute, vars(owner).get(attribute, getattr(owner, attribute))
    except (ImportError, AttributeError):
        return None


def _always(value: Any) -> Replacement:
    """Replace a function with a function that always returns `value`."""
    return lambda _before: lambda *_arguments, **_keywords: value


def _always_async(value: Any) -> Replacement:
    """Replace a coroutine function with a coroutine function that always returns `value`."""

    def replaced(_before: Any) -> Any:
        async def work(*_arguments: Any, **_keywords: Any) -> Any:
            return value

        return work

    return replaced


def _double_rate(_before: Any) -> Any:
    def for_rate(per_minute: float) -> Bucket:
        return Bucket(1 + per_minute / 10, 60 / (2 * per_minute))

    return staticmethod(for_rate)


def _ignore_request_time(before: Any) -> Any:
    """Evaluate the records of an answer as if it had been requested after everything else that is known.

    Earlier states of records would otherwise wait for a second look (rule 5), so this rule is turned off, too.
    """

    def evaluate_records(completions: Any, evidence: Any, context: Any) -> Any:
        return before(completions, replace(evidence, changed_at={}, earlier_forms={}), context)

    return evaluate_records


def _always_none_property(_before: Any) -> Any:
    return property(lambda _of: None)


def _all_looks_due(_before: Any) -> Any:
    return lambda looks: frozenset(looks.by_key)


def _accept_whole_offset(_before: Any) -> Any:
    def accepted_offset(unexplained: int, _left_over: int | None, offset: int, **_keywords: bool) -> int:
        return offset + unexplained

    return accepted_offset


def _classify_by_entry_time(before: Any) -> Any:
    """Treat all records that were entered before the first contact as history, no matter when they appear."""

    def classify_unknown(recorded_at: Any, baseline: Any) -> Any:
        return before(recorded_at, replace(baseline, swept=False))

    return classify_unknown


def _ask_about_person_instead(_before: Any) -> Any:
    async def ask(absences: Any, look: Any) -> Any:
        return await absences._reader.ask_precise_question(
            Priority.CONFIRM, user_id=look.user_id, training_id=look.training_id, all_pages=True
        )

    return ask


def _ignore_view(_before: Any) -> Any:
    return lambda db, source, _view, _now_ms: sources.read_or_create(db, source)


_PLAIN: Final = (
    Switch(
        "budget: twice the rate",
        [("notifier.kpa.rate_limiter:Bucket.for_rate", _double_rate)],
        ("import_day", "tight"),
    ),
    Switch(
        "a return is not told",
        [("notifier.watch.detection.evidence:_evaluate_return", _always(None))],
        ("calm_pairs", "calm"),
    ),
    Switch(
        "removals are not asked for",
        [("notifier.watch.detection.absences:Absences._suspects", _always_async([]))],
        ("calm", "count_only_deletes"),
    ),
)
"""The switches that have nothing to do with evidence."""

_RULES: Final = (
    Switch(
        "rule 1: an answer speaks for the moment it was asked for",
        [("notifier.watch.ingest_transaction:evaluate_records", _ignore_request_time)],
        ("ambush_edits", "latency", "slow_store"),
    ),
    Switch(
        "rule 2: a page is whole or no evidence",
        [
            ("notifier.watch.source_reader:page_fault", _always(None)),
            ("notifier.watch.detection.sweep:page_fault", _always(None)),
            ("notifier.watch.detection.sweep:SweepRunner._check_page", _always(None)),
            ("notifier.watch.source_reader:SourceReader._is_consistent", _always(value=True)),
        ],
        ("page_one", "capped", "everything"),
    ),
    Switch(
        "rule 3: the balance, never absorbed",
        [("notifier.watch.detection.sweep:accepted_offset", _accept_whole_offset)],
        ("everything", "lacking", "count_spell"),
    ),
    Switch(
        "rule 4: absence needs room in the balance",
        [("notifier.watch.detection.balance:Balance.max_gone", _always_none_property)],
        ("lacking", "short_pages", "calm"),
    ),
    Switch(
        "rule 4: absence needs a second look",
        [("notifier.watch.second_looks:SecondLooks.due", _all_looks_due)],
        ("empty", "replica_seconds", "old_answers"),
    ),
    Switch(
        "rule 5: an earlier form waits",
        [("notifier.store.tables.second_looks:earlier_forms", _always({}))],
        ("replica_seconds", "old_answers"),
    ),
    Switch(
        "rule 6: a record in motion is one record",
        [
            ("notifier.watch.detection.absences:SeenRecords.__contains__", _always(value=False)),
            ("notifier.watch.detection.absences:Absences._ask_about_training", _ask_about_person_instead),
        ],
        ("moves_beside_deletions", "ambush_moves"),
    ),
    Switch(
        "rule 7: news or history",
        [("notifier.watch.detection.evidence:classify_unknown", _classify_by_entry_time)],
        ("calm_offline", "count_only"),
    ),
    Switch(
        "rule 8: much at once is held",
        [
            ("notifier.watch.past_answers:hold_limit", _always(10**9)),
            ("notifier.watch.detection.absences:exceeds_hold_limit", _always(value=False)),
        ],
        ("half",),
    ),
    Switch("rule 9: the view", [("notifier.watch.watcher:apply_view", _ignore_view)], ("view_filter", "view_person")),
    Switch(
        "rule 10: the same record under another key",
        [("notifier.watch.ingest_transaction:_renumbered", _always([]))],
        ("view_api", "renumbered"),
    ),
    Switch(
        "rule 11: v1 has no ids",
        [("notifier.watch.detection.v1_records:V1Records._bases_to_ask", _always(frozenset()))],
        ("v1_twins",),
    ),
    Switch(
        "rule 12: a list that cannot be searched",
        [
            ("notifier.watch.background_tasks:BackgroundTasks._note_unsorted", _always(None)),
            ("notifier.watch.detection.sweep:SweepRunner._detect_page_cap", _always_async(value=False)),
        ],
        ("ties", "oldest_first", "capped"),
    ),
)

SWITCHES: Final = (*_RULES, *_PLAIN)
