"""The state of a daemon that hangs. It needs a process of its own, unlike the other states."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HungState:
    """A row of the table of states: what is seen from outside if the daemon does not answer.

    `shown` is the table's column of conditions. `seconds` is how long `status` waits before its `exit_code`.
    """

    name: str
    shown: str
    exit_code: int
    seconds: float
    prometheus_alerts: tuple[str, ...]
    remedy: str
    headline: str


HUNG = HungState(
    "the daemon hangs",
    shown="nothing new; an open dashboard says after ten seconds that the notifier does not answer",
    exit_code=1,
    seconds=5.0,
    prometheus_alerts=("NotifierDown",),
    remedy="systemd restarts it after a minute (`WatchdogSec`); `systemctl restart notifier`",
    headline="The notifier has not answered for ten seconds.",
)
