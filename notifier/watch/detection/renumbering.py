"""Recognises known records under new keys, after a change of the API version or when the API has renumbered them.

Many known records then seem to be missing, and as many unknown ones have the same person, training, time of entry and
date. The known records are given the new keys, and nothing is announced or removed. All functions but `log_adoptions`
are pure.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from notifier.events import Completion, EventType
from notifier.store.tables.records import Findings
from notifier.store.tables.silent_updates import Adoption
from notifier.store.tables.sources import SourceMemory

_log = logging.getLogger(__name__)

_DAY_MS: Final = 86_400_000
_FEW: Final = 20
"""If an answer has more unknown records than this, they are compared with known ones, whatever the API's count is."""


def was_renumbered_lately(memory: SourceMemory, now_ms: int) -> bool:
    """Return whether the API changed keys within the last day; some records may then still be known under old keys."""
    return memory.renumbered_ms is not None and 0 <= now_ms - memory.renumbered_ms < _DAY_MS


def may_be_renumbered(unknown: int, memory: SourceMemory, max_records: int | None, now_ms: int) -> bool:
    """Return whether unknown records of an answer may be known ones under new keys.

    `unknown` is the number of unknown records. `max_records` is the largest number of records that the API can have
    (None: not known). A few unknown records are simply new if the known and the unknown ones together do not exceed
    `max_records`.
    """
    if memory.swept_at_ms is None:
        return False
    if was_renumbered_lately(memory, now_ms):
        return True
    return unknown > _FEW or (max_records is not None and memory.expected + unknown > max_records)


def find_adoptions(
    unknown: Sequence[Completion],
    similar: Mapping[str, Sequence[tuple[str, str]]],
    present: Collection[str],
    *,
    expected: bool,
    any_match: bool = False,
) -> list[Adoption]:
    """Return an adoption for each unknown record that matches a known one; each known record is matched only once.

    `similar` maps an unknown record's key to the keys and trainings of known records with the same person, time of
    entry and date. Records whose keys are `present` in the answer are never matched.

    `expected` means that the API version has changed. Ids of trainings then differ, so they are not compared. Without
    `expected`, the trainings must be equal, and at least half of the unknown records must match. With `any_match`, one
    match is enough.
    """
    taken: set[str] = set()
    found: list[Adoption] = []
    for completion in unknown:
        for key, training_id in similar.get(completion.key, ()):
            if key in taken or key in present or not (expected or training_id == completion.training_id):
                continue
            taken.add(key)
            found.append(Adoption(key, completion))
            break
    return found if expected or any_match or 2 * len(found) >= len(unknown) else []


def log_adoptions(source: str, findings: Findings) -> None:
    """Log how many unknown records of an answer were recognised as known ones, and how many were not."""
    if findings.adopted:
        unmatched = len(findings.learned) + sum(change.type is EventType.CREATED for change in findings.changes)
        facts = {"source": source, "matched": len(findings.adopted), "unmatched": unmatched}
        _log.info(
            "the API has given known records new ids; they are matched to the old ones and not reported as new",
            extra=facts,
        )
