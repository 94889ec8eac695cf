"""The employee status list: which trainings each person has completed, and when the completions expire."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from msgspec.structs import replace

from notifier.facts import months_later
from notifier.sandbox.account import Account, AccountPage
from notifier.sandbox.catalog import Training
from notifier.sandbox.change_log import ChangeLog
from notifier.sandbox.faults import ApiRequest, ListFault
from notifier.sandbox.records import Record, date_number, day_of, day_of_number

DEFAULT_LIMIT: Final = 1000
_EXPIRING_DAYS: Final = 30


def status_page(
    account: Account,
    change_log: ChangeLog,
    request: ApiRequest,
    faults: Sequence[ListFault],
    *,
    people: Collection[str] | None,
    trainings: Collection[int] | None,
) -> AccountPage:
    """Return a page of the employee status list, which is made from the completion records.

    `faults` can change the records, the number of people, and the request that is answered. `people` and `trainings`
    limit the list to these ids (None: no limit). All listed trainings are required of each person.
    """
    for fault in faults:
        request = fault.change_request(request)
    records = change_log.records(max((fault.age_seconds for fault in faults), default=0.0))
    for fault in faults:
        records = fault.change_list(records, request)
    unlisted = frozenset[int]().union(*(fault.unlisted_ids(records) for fault in faults))
    records = [record for record in records if record.id not in unlisted]
    for fault in faults:
        records = fault.change_page(records)
    known = [user["id"] for user in account.users if people is None or user["id"] in people]
    start = (request.page - 1) * request.limit
    chosen = known[start : start + request.limit]
    required = [it for it in account.trainings if trainings is None or it.ids.v2 in trainings]
    newest: dict[str, dict[int, Record]] = {user: {} for user in chosen}
    for record in records:
        newest_of_person = newest.get(record.user.lower())
        if newest_of_person is not None and (
            record.training.v2 not in newest_of_person
            or _recency(record) > _recency(newest_of_person[record.training.v2])
        ):
            newest_of_person[record.training.v2] = record
    rows = [_employee(account, user, newest[user], required) for user in chosen]
    total = max(0, len(known) + sum(fault.count_offset for fault in faults))
    return AccountPage(rows, max(1, -(-total // request.limit)), total)


def _recency(record: Record) -> tuple[int, int, int]:
    return record.date_number, record.created, record.id


def _employee(
    account: Account, user: str, newest: Mapping[int, Record], required: Sequence[Training]
) -> dict[str, Any]:
    today = date_number(day_of(account.now_ms()))
    entries: list[dict[str, Any]] = []
    complete: list[int] = []
    expiring = False
    for training in required:
        record = newest.get(training.ids.v2)
        if record is None:
            continue
        entry = _last_completed(account, training, record)
        entries.append(entry)
        end, warns = entry.get("expiresOn"), entry.get("startsExpiringOn")
        if end is None or end >= today:
            complete.append(training.ids.v2)
            expiring = expiring or (warns is not None and warns <= today)
    incomplete = [training.ids.v2 for training in required if training.ids.v2 not in complete]
    status = "incomplete" if incomplete else "expiring" if expiring else "active"
    return {
        "m_user_id": next((record.user for record in newest.values()), user),
        "status": status if required else "unassigned",
        "percent_complete": round(100 * len(complete) / len(required)) if required else 100,
        "incomplete_training_ids": incomplete,
        "complete_training_ids": complete,
        "last_completed": entries,
    }


def _last_completed(account: Account, training: Training, record: Record) -> dict[str, Any]:
    shown = record.overrides or {}
    entry: dict[str, Any] = {
        "id": training.ids.v2,
        "date_number": shown.get("date_number", record.date_number),
        "is_required": True,
    }
    end = account.status_ends.get((record.user.lower(), training.ids.v2), record.expiry)
    if end is None and training.renewal_months:
        by_rule = months_later(day_of_number(record.date_number).isoformat(), training.renewal_months)
        end = None if by_rule is None else int(by_rule.replace("-", ""))
    if end is not None:
        days = _EXPIRING_DAYS if training.expiring_days is None else training.expiring_days
        entry |= {"expiresOn": end, "startsExpiringOn": date_number(day_of_number(end) - timedelta(days=days))}
    return entry


def with_default_limit(request: ApiRequest, limit: int | None) -> ApiRequest:
    """Return a request with the given limit, or with the default limit of the employee status list."""
    return replace(request, limit=DEFAULT_LIMIT if limit is None else limit)
