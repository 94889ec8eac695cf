"""Enables or disables a destination, for `notifier enable` and `notifier disable`."""

from collections.abc import Mapping
from typing import Any

from notifier.cli import daemon_client
from notifier.cli.context import require_destination, settings_and_state_file, settings_without_daemon
from notifier.cli.global_options import GlobalOptions


def set_enabled(global_options: GlobalOptions, destination: str, *, enabled: bool) -> Mapping[str, Any]:
    """Enable or disable a destination through the daemon or, if no daemon is running, in the store.

    Returns the daemon's answer or, without a daemon, an object with the same keys.
    Raises CommandError, NameNotFoundError.
    """
    settings, state_file = settings_and_state_file(global_options)
    require_destination(settings, destination)
    verb = "enable" if enabled else "disable"
    answer = daemon_client.request(state_file, "POST", f"/v1/destinations/{destination}/{verb}", timeout=None)
    if answer is not None:
        return answer.body
    # Imported only without a daemon, because these imports take half a second.
    from notifier.cli.offline_deliveries import set_enabled_offline  # noqa: PLC0415
    from notifier.daemon.api.deliveries import switched_document  # noqa: PLC0415
    from notifier.daemon.configuration import UnloadedChanges  # noqa: PLC0415

    settings = settings_without_daemon(global_options, settings)
    health, waited = set_enabled_offline(settings, destination, enabled=enabled)
    # `UnloadedChanges` is empty, because without a daemon no older configuration is in use.
    return switched_document(destination, health, UnloadedChanges(), waited=waited)
