"""What the API says of the number of records, and what follows from it. Pure decisions."""

from dataclasses import dataclass

from notifier.kpa.client import Page


@dataclass(frozen=True, slots=True)
class Told:
    """How many records there are, as far as a page tells: from `least` to `most`, which is None where it is open."""

    least: int
    most: int | None

    @property
    def exactly(self) -> int | None:
        """The number, where there is no doubt about it."""
        return self.least if self.least == self.most else None

    def admits(self, count: int) -> bool:
        """Tell whether there may be so many."""
        return self.least <= count and (self.most is None or count <= self.most)


def told_by(page: Page) -> Told:
    """Read how many records there are from what came with a page.

    `paging.total` is not documented for these lists: it is not believed against the last page's number, nor when there
    are more records on the page.
    """
    above, last = (page.number - 1) * page.limit, page.last_page
    least = above + page.size if page.size else 0
    if page.total is not None and page.total >= least and last in (None, _pages(page.total, page.limit)):
        return Told(page.total, page.total)
    if page.size == 0:
        return _told_by_nothing(page.number, page.limit, last)
    if last == page.number or (last is None and page.size < page.limit):
        return Told(least, least)
    if last is None:
        return Told(least, None)
    return Told(max((last - 1) * page.limit + 1, least), max(last * page.limit, least))


def _pages(records: int, limit: int) -> int:
    return max(1, -(-records // limit))


def _told_by_nothing(number: int, limit: int, last: int | None) -> Told:
    """Read how many records there are from a page that is empty, as one beyond the end is."""
    if number == 1:
        return Told(0, 0)
    if last is None or last >= number:
        return Told(0, None)
    # The only page of a list may be empty, too.
    return Told((last - 1) * limit + 1 if last > 1 else 0, last * limit)


def uncounted(left_over: int, unreadable: int, left_before: int | None, *, held: bool) -> int:
    """Decide by how many the API's count may differ from the known records for good, after a whole sweep.

    `left_over` is the difference that it left, `left_before` what the sweep before it left. Records that cannot be read
    explain it; so do removals that are held back; and what two whole sweeps could not find will not be found by
    searching (in version 1, records that are equal in every field).
    """
    return left_over if held or left_over == left_before else unreadable


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of a sweep: the API's count, the page that had been read last, how many records others had found."""

    count: int
    page: int
    found: int


def page_to_repeat(mark: Mark, now: Mark, size: int) -> int | None:
    """Tell from which page (of `size` records) a sweep has to read again, if any.

    A deletion above the place where a sweep reads moves every record below it up by one: the first of the next page
    comes to stand on a page that was read already. The count, less what is known to have come in, tells of deletions.
    """
    gone = (now.found - mark.found) - (now.count - mark.count)
    return max(1, mark.page - (gone - 1) // size) if gone > 0 else None
