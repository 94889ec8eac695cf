"""Whether an endpoint refuses one event, or everything: a rotated Authorization header, a path that has moved. Pure.

A refusal such as 401 or 404 is taken for the event's own trouble, for it may be: a receiver may not know a person. When
one event after the other meets the same refusal and none gets through, it is the endpoint that is in trouble: it waits
as a whole and is probed with single events, instead of being tried with each event on that event's own schedule.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from http import HTTPStatus

from notifier.deliver.answers import LONGEST_DETAIL
from notifier.deliver.outcome import Outcome, Reason
from notifier.ledger.destinations import Health, HealthState

SEVERAL = 3
"""Requests with different events that meet the same refusal in a row, before it is the endpoint's."""

ABOUT_THE_ENDPOINT = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.PAYMENT_REQUIRED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.MISDIRECTED_REQUEST,
        HTTPStatus.UPGRADE_REQUIRED,
    }
)
"""Statuses that say who may ask, where and how, and seldom mean what was asked (RFC 9110, section 15.5)."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """The latest refusals in a row, all with one status: the events (by number) of each request, no event in two."""

    status: int | None = None
    requests: tuple[frozenset[int], ...] = ()


def after_attempt(before: Refusals, sequences: Collection[int], outcome: Outcome) -> Refusals:
    """Count an attempt with these events in; what says nothing of whether the endpoint takes anything changes nothing.

    A request that shares events with an earlier one stands in its place: the same event, tried again, tells no more.
    The row is not remembered over a restart: whoever is refused then waits on its own schedule, as before.
    """
    if outcome.reason is Reason.REFUSED and outcome.status in ABOUT_THE_ENDPOINT:
        these = frozenset(sequences)
        earlier = before.requests if outcome.status == before.status else ()
        others = [request for request in earlier if request.isdisjoint(these)]
        return Refusals(outcome.status, (*others, these)[-SEVERAL:])
    if outcome.reason in {Reason.DELIVERED, Reason.REFUSED, Reason.PAYLOAD_REFUSED}:
        return Refusals()
    return before


def judged(outcome: Outcome, refusals: Refusals, health: Health) -> Outcome:
    """Say of a refusal that everything is refused, where it is so: by the refusals in a row, this one included.

    An endpoint that was found so before goes on so with any refusal of that kind, after a restart too.
    """
    if outcome.reason is not Reason.REFUSED or outcome.status not in ABOUT_THE_ENDPOINT:
        return outcome
    found_before = health.state is HealthState.RETRYING and health.reason == Reason.EVERYTHING_REFUSED
    if found_before or len(refusals.requests) >= SEVERAL:
        detail = f"HTTP {outcome.status}: {outcome.detail}" if outcome.detail else f"HTTP {outcome.status}"
        return replace(outcome, reason=Reason.EVERYTHING_REFUSED, detail=detail[:LONGEST_DETAIL])
    return outcome
