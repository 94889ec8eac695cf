"""The row of a daemon that hangs, which cannot be brought about on the loop that all other states share."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outside:
    """A row of the table that a test of its own executes: what is said by those who get no answer."""

    name: str
    says: str
    exit_code: int
    seconds: float
    rules: tuple[str, ...]
    remedy: str
    headline: str


HUNG = Outside(
    "the daemon hangs",
    says="nothing new; an open dashboard says after ten seconds that the notifier does not answer",
    exit_code=1,
    seconds=5.0,
    rules=("NotifierDown",),
    remedy="systemd restarts it after a minute (`WatchdogSec`); `systemctl restart notifier`",
    headline="The notifier has not answered for ten seconds.",
)
