"""What `notifier enable` and `notifier disable` have in common."""

from notifier import logs
from notifier.cli import running
from notifier.cli.configuration import read_settings, require_destination
from notifier.cli.given import Given


def switch(given: Given, destination: str, *, enabled: bool) -> str | None:
    """Resume or park a destination: the running daemon does it, or this process alone.

    Returns why it is disabled now, None when it is not. Raises Failure, UnknownName.
    """
    settings = read_settings(given)
    require_destination(settings, destination)
    verb = "enable" if enabled else "disable"
    answer = running.ask(settings.store.path, "POST", f"/v1/destinations/{destination}/{verb}")
    if answer is not None:
        reason: str | None = answer.body["reason"]
        return reason
    # Half a second of imports that a running daemon makes unnecessary.
    from notifier.cli.alone_deliveries import switch_alone  # noqa: PLC0415

    logs.set_up(given.log_level(), "text")
    return switch_alone(settings, destination, enabled=enabled).reason
