"""Divides pages that are too large for one answer into smaller pages, and joins these again. Pure.

Each page size is a divisor of the next larger one, so a page consists of a whole number of smaller pages.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from notifier.kpa.client import Page
from notifier.kpa.v1_keys import key_base, numbered_key
from notifier.kpa.versions import InvalidRecord

if TYPE_CHECKING:
    from notifier.events import Completion

_TOO_LARGE: Final = "the record alone is too large for an answer that is read (more than 32 MiB)"


def smaller_size(limit: int) -> int:
    """Return the next smaller page size: the largest divisor of `limit` below `limit`."""
    return limit // next(part for part in range(2, limit + 1) if limit % part == 0)


def larger_size(limit: int, size: int) -> int:
    """Return the next larger page size after `size`.

    The possible sizes are `limit`, its `smaller_size`, the `smaller_size` of that, and so on.
    """
    larger = [*takewhile(lambda one: one > size, _sizes(limit))]
    return larger[-1] if larger else limit


def _sizes(limit: int) -> list[int]:
    sizes = [limit]
    while sizes[-1] > 1:
        sizes.append(smaller_size(sizes[-1]))
    return sizes


def too_large_record_page(number: int, requested_at: float, seconds: float) -> Page:
    """Return a page with one unreadable record, which stands for a record that is too large for any answer."""
    bad = InvalidRecord(None, _TOO_LARGE, mark=number, is_too_large=True)
    return Page(
        number,
        1,
        size=1,
        completions=(),
        bad=(bad,),
        last_page=None,
        total=None,
        served_at_ms=None,
        requested_at=requested_at,
        seconds=seconds,
    )


def join_parts(number: int, limit: int, parts: Sequence[Page], *, has_ids: bool) -> Page:
    """Return the page that consists of these consecutive `parts`.

    A record that moves down between two requests can be in two parts. The second copy then counts as unreadable
    (`is_repeated`), and the page is incomplete. Without record ids (`has_ids` is False), copies cannot be recognised.
    Equal records are then numbered across the parts.
    """
    completions: list[Completion] = []
    bad: list[InvalidRecord] = []
    seen: dict[str, int] = {}
    above = 0
    for part in parts:
        unreadable = {one.place: one for one in part.bad}
        for place, record in enumerate(part.in_order()):
            if record is None:
                bad.append(replace(unreadable[place], place=above + place))
                continue
            base = record.key if has_ids else key_base(record.key)
            times = seen[base] = seen.get(base, 0) + 1
            if times == 1 or not has_ids:
                completions.append(record if has_ids else replace(record, key=numbered_key(base, times)))
            else:
                bad.append(
                    InvalidRecord(record.key, "it was read twice: the list moved", above + place, is_repeated=True)
                )
        above += part.size
    with_paging = [part for part in parts if part.last_page is not None]
    return replace(
        parts[0],
        number=number,
        limit=limit,
        size=above,
        completions=tuple(completions),
        bad=tuple(bad),
        last_page=-(-(with_paging[-1].last_page or 0) * with_paging[-1].limit // limit) if with_paging else None,
        total=with_paging[-1].total if with_paging else parts[-1].total,
        seconds=sum(part.seconds for part in parts),
        parts=len(parts),
    )
