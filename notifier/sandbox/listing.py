"""Makes a page of the list of completions, with faults applied."""

from collections.abc import Mapping, Sequence

from notifier.sandbox.account import Account, AccountPage, Filters
from notifier.sandbox.faults import ListFault, RequestKind
from notifier.sandbox.past import AccountPast
from notifier.sandbox.records import Version, shown


def list_page(
    account: Account, past: AccountPast, version: Version, question: RequestKind, faults: Sequence[ListFault]
) -> AccountPage:
    """Return the page that answers a request for completions, with these faults applied in order.

    The faults choose records from the whole list; the request's filters are applied afterwards.
    """
    for fault in faults:
        question = fault.place(question)
    if not faults:
        return account.page(version, limit=question.limit, page=question.page, filters=question.filters)
    records = past.records(max(fault.seconds_ago() for fault in faults))
    for fault in faults:
        records = fault.arrange(records, question)
    unlisted = frozenset[int]().union(*(fault.unlisted(records) for fault in faults))
    matching = records if question.filters == Filters() else [*filter(question.filters.accept, records)]
    total = max(0, len(matching) + sum(fault.miscounted() for fault in faults))
    listed = [record for record in matching if record.id not in unlisted] if unlisted else matching
    start = (question.page - 1) * question.limit
    chosen = listed[start : start + question.limit]
    for fault in faults:
        chosen = fault.show(chosen)
    rows = [shown(record, version, account.dialect) for record in chosen]
    return AccountPage(rows, max(1, -(-total // question.limit)), total)


def paging_of(page: AccountPage, *, told: bool, faults: Sequence[ListFault]) -> Mapping[str, int]:
    """Return the page information of an answer; if `told`, it includes the number of matching records."""
    paging: Mapping[str, int] = {"last_page": page.last_page}
    if told:
        paging = {**paging, "total": page.total}
    for fault in faults:
        paging = fault.paging(paging, page.total)
    return paging
