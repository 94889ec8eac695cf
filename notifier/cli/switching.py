"""What `notifier enable` and `notifier disable` have in common."""

from typing import Any

from notifier import logs
from notifier.cli import running
from notifier.cli.configuration import read_settings, require_destination
from notifier.cli.given import Given


def switch(given: Given, destination: str, *, enabled: bool) -> dict[str, Any]:
    """Resume or park a destination: the running daemon does it, or this process alone.

    Returns its name, and the state it is in now and why, as the daemon says it. Raises Failure, UnknownName.
    """
    settings = read_settings(given)
    require_destination(settings, destination)
    verb = "enable" if enabled else "disable"
    answer = running.ask(settings.store.path, "POST", f"/v1/destinations/{destination}/{verb}")
    if answer is not None:
        return answer.body
    # Half a second of imports that a running daemon makes unnecessary.
    from notifier.cli.alone_deliveries import switch_alone  # noqa: PLC0415

    logs.set_up(given.log_level(), "text")
    health = switch_alone(settings, destination, enabled=enabled)
    return {"destination": destination, "state": health.state, "reason": health.reason}
