"""Makes the pages of the list of completions, and applies faults to them."""

from collections.abc import Mapping, Sequence

from notifier.sandbox.account import Account, AccountPage, Filters
from notifier.sandbox.change_log import ChangeLog
from notifier.sandbox.faults import ApiRequest, ListFault
from notifier.sandbox.records import Version, format_record


def list_page(
    account: Account, change_log: ChangeLog, version: Version, request: ApiRequest, faults: Sequence[ListFault]
) -> AccountPage:
    """Return the page of completions for a request, after applying `faults` in order.

    Faults select records from the whole list, before the request's filters are applied.
    """
    for fault in faults:
        request = fault.change_request(request)
    if not faults:
        return account.page(version, limit=request.limit, page=request.page, filters=request.filters)
    records = change_log.records(max(fault.age_seconds for fault in faults))
    for fault in faults:
        records = fault.change_list(records, request)
    unlisted = frozenset[int]().union(*(fault.unlisted_ids(records) for fault in faults))
    matching = records if request.filters == Filters() else [*filter(request.filters.accept, records)]
    total = max(0, len(matching) + sum(fault.count_offset for fault in faults))
    listed = [record for record in matching if record.id not in unlisted] if unlisted else matching
    start = (request.page - 1) * request.limit
    chosen = listed[start : start + request.limit]
    for fault in faults:
        chosen = fault.change_page(chosen)
    rows = [format_record(record, version, account.dialect) for record in chosen]
    return AccountPage(rows, max(1, -(-total // request.limit)), total)


def build_paging(page: AccountPage, *, with_total: bool, faults: Sequence[ListFault]) -> Mapping[str, int]:
    """Return the field `paging` of an answer; if `with_total`, it includes the number of matching records."""
    paging: Mapping[str, int] = {"last_page": page.last_page}
    if with_total:
        paging = {**paging, "total": page.total}
    for fault in faults:
        paging = fault.change_paging(paging, page.total)
    return paging
