"""Sends messages through the library apprise in a separate process. The script imports nothing of the notifier.

Each line of standard input is a JSON object with the keys `url`, `timeout` (seconds), `application`, `title`, `body`,
`level`, `skip` (the targets that already have the message), and `proxies` (the environment variables that name proxies,
in lower case). Each line is answered by one on standard output, a JSON object with the keys `taken` (whether all
targets of the service now have the message), `by` (those that have it), and `said` (the library's words). The URL is
secret, so it is not passed as an argument or in the environment, where other processes could see it.
"""

import copy
import hashlib
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

MEMORY_BYTES = 512 * 2**20
"""The process's memory limit in bytes, so that an endless answer cannot use up all memory."""

COUNTER_CHARACTERS = 12
"""The number of characters that the library may add to a title to number the pieces of a message."""

_TARGET_ATTRIBUTES = ("targets", "topics", "channels", "rooms", "users", "emails", "phones")
"""The attributes in which the library's services keep the list of their recipients."""


def main() -> None:
    """Process the calls from standard input until it ends."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    answers, sys.stdout = sys.stdout, sys.stderr
    # Read as bytes, because text would be decoded in the locale's encoding.
    for line in sys.stdin.buffer:
        call = json.loads(line)
        # Normally the parent process ends this one in time; the timer is for a parent that was itself killed.
        signal.setitimer(signal.ITIMER_REAL, call["timeout"])
        answer = notify(**call)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(answer), file=answers, flush=True)


def notify(
    url: str,
    timeout: float,
    application: str,
    title: str,
    body: str,
    level: str,
    skip: list[str],
    proxies: dict[str, str],
) -> dict[str, Any]:
    """Send the message to each target of the service behind `url`, in pieces if it is longer than the service allows.

    Returns the answer that is written to standard output.
    """
    # The variables of the previous call, which may be another destination's, must not apply to this one.
    for name in ("https_proxy", "http_proxy", "no_proxy"):
        os.environ.pop(name, None)
    os.environ.update(proxies)
    # Imported here, so that the limits are already set.
    from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType, OverflowMode, URLBase  # noqa: PLC0415

    # The library's default is to give up after 4 seconds of silence, which is too short; a URL can override this.
    URLBase.socket_connect_timeout = URLBase.socket_read_timeout = timeout
    # By default, the library sends a text even if it is too long, and the service cuts or refuses it.
    NotifyBase.overflow_mode = OverflowMode.SPLIT
    asset = AppriseAsset(app_id=application, app_desc="Completion Notifier", http_redirects=False, service_timeout=0)
    # `add(url)` is not used, because it splits a URL at a comma.
    service = Apprise.instantiate(url, asset=asset)
    if service is None:
        return {"taken": False, "by": [], "said": "apprise does not understand the URL"}
    if 0 < service.title_maxlen < len(title) + COUNTER_CHARACTERS:
        # The service would cut the title, so it becomes the first line of the body.
        title, body = "", f"{title}\n{body}"
    taken, said = True, []
    by = list(skip)
    for key, single in _each_target(service):
        if key in by:
            continue
        apprise = Apprise(single, asset=asset)
        with apprise.notify(
            body=body, title=title, notify_type=NotifyType(level), body_format=NotifyFormat.TEXT
        ) as result:
            said += [entry.message for entry in result.logs()]
            if result:
                by.append(key)
            else:
                taken = False
    return {"taken": taken, "by": by, "said": " ".join(said)}


def _each_target(service: Any) -> Iterator[tuple[str, Any]]:
    """Yield one copy of the service for each of its targets, with a key that identifies the target.

    The copies are needed because the library only reports whether all targets took a message. A service with a single
    target, or whose list of targets is not found, is yielded unchanged with the key "all".
    """
    count = len(service)
    lists = {name: value for name, value in vars(service).items() if isinstance(value, list | set | tuple)}
    name = next((name for name in _TARGET_ATTRIBUTES if count > 1 and len(lists.get(name, ())) == count), None)
    if name is None:
        yield "all", service
        return
    for target in lists[name]:
        single = copy.copy(service)
        setattr(single, name, type(lists[name])([target]))
        yield hashlib.sha256(repr(target).encode()).hexdigest()[:12], single


if __name__ == "__main__":
    main()
