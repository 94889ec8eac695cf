"""A script that sends messages through the library apprise in its own process.

It imports nothing of the notifier. Each line of standard input is a call, a JSON object with these keys:

- `url`: the service's URL (secret: therefore not an argument or a variable, which other processes could read)
- `timeout`: seconds
- `application`, `title`, `body`, `level`
- `skip`: the keys of targets that already have the message
- `proxies`: environment variables that name proxies, in lower case

For each target that takes the message, the script at once writes a line to standard output: the target's key, a JSON
string. Then it answers the call with one line, a JSON object:

- `delivered`: whether all targets have the message
- `targets`: the keys of the targets that have the message
- `log`: the library's log messages
"""

import copy
import hashlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

MEMORY_BYTES = 512 * 2**20
"""The process's memory limit in bytes, so that an endless answer cannot use up all memory."""

COUNTER_CHARACTERS = 12
"""The maximum number of characters that the library adds to a title when it numbers the pieces of a long message."""

_TARGET_ATTRIBUTES = ("targets", "topics", "channels", "rooms", "users", "emails", "phones")
"""The attributes that may hold a service's list of targets."""


def main() -> None:
    """Read calls from standard input, and write the answers to standard output, until the input ends."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    answers, sys.stdout = sys.stdout, sys.stderr
    # Read as bytes, because text would be decoded in the locale's encoding.
    for line in sys.stdin.buffer:
        call = json.loads(line)
        # Normally the parent kills this process at the time limit. The timer is for a parent that was itself killed.
        signal.setitimer(signal.ITIMER_REAL, call["timeout"])
        answer = notify(**call, on_taken=lambda key: print(json.dumps(key), file=answers, flush=True))
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
    on_taken: Callable[[str], None],
) -> dict[str, Any]:
    """Send a message to each target of the service behind `url`, and return the answer for standard output.

    Call `on_taken` with the key of each target that takes the message. A message that is longer than the service allows
    is sent in pieces.
    """
    # The previous call may be another destination's; its proxies must not be used for this call.
    for name in ("https_proxy", "http_proxy", "no_proxy"):
        os.environ.pop(name, None)
    os.environ.update(proxies)
    # Imported here, when the limits on memory and time are already set.
    from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType, OverflowMode, URLBase  # noqa: PLC0415

    # The library's default is to give up after 4 seconds of silence, which is too short; a URL can override this.
    URLBase.socket_connect_timeout = URLBase.socket_read_timeout = timeout
    # By default, the library sends a text even if it is too long, and the service cuts or refuses it.
    NotifyBase.overflow_mode = OverflowMode.SPLIT
    asset = AppriseAsset(app_id=application, app_desc="Completion Notifier", http_redirects=False, service_timeout=0)
    # `add(url)` is not used, because it splits a URL at a comma.
    service = Apprise.instantiate(url, asset=asset)
    if service is None:
        return {"delivered": False, "targets": [], "log": "apprise does not understand the URL"}
    if 0 < service.title_maxlen < len(title) + COUNTER_CHARACTERS:
        # The service would cut the title, so it becomes the first line of the body.
        title, body = "", f"{title}\n{body}"
    all_delivered, log = True, []
    targets = list(skip)
    for key, single in _each_target(service):
        if key in targets:
            continue
        apprise = Apprise(single, asset=asset)
        with apprise.notify(
            body=body, title=title, notify_type=NotifyType(level), body_format=NotifyFormat.TEXT
        ) as result:
            log += [entry.message for entry in result.logs()]
            if result:
                targets.append(key)
                on_taken(key)
            else:
                all_delivered = False
    return {"delivered": all_delivered, "targets": targets, "log": " ".join(log)}


def _each_target(service: Any) -> Iterator[tuple[str, Any]]:
    """Yield a key and a copy of the service for each of the service's targets.

    A copy sends to one target only. The library itself only reports whether all targets accepted a message. A service
    with a single target, or without a known list of targets, is yielded unchanged with the key "all".
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
