"""One message through the library apprise, in a process of its own: a script that imports nothing of the notifier.

It reads one JSON object from standard input, `{"url", "timeout" (seconds), "application", "title", "body"}`, and
writes one to standard output, `{"taken": whether the service took the message, "said": what the library told}`. The
URL, which is a secret, is neither an argument nor in the environment, where other processes could see it.
"""

import json
import resource
import signal
import sys
from typing import Any

MEMORY = 512 * 2**20
"""Bytes; what an endless answer can take."""

COUNTER = 12
"""Characters of a title that the library may need to number pieces."""


def main() -> None:
    """Make the call that standard input describes."""
    # Bytes: what is read as text would be read in the locale's encoding.
    call = json.load(sys.stdin.buffer)
    # Whoever started this process ends it in time, unless it was itself killed.
    signal.setitimer(signal.ITIMER_REAL, call["timeout"])
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    answer, sys.stdout = sys.stdout, sys.stderr
    json.dump(notify(**call), answer)


def notify(url: str, timeout: float, application: str, title: str, body: str) -> dict[str, Any]:
    """Hand the message to the service behind `url`, in as many pieces as its own limits demand."""
    # Within the limits.
    from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, OverflowMode, URLBase  # noqa: PLC0415

    # The library gives up after 4 seconds of silence, which the receiver may need; a URL may still say otherwise.
    URLBase.socket_connect_timeout = URLBase.socket_read_timeout = timeout
    # As it comes, a service sends what is too long for it all the same, and its peer cuts or refuses that.
    NotifyBase.overflow_mode = OverflowMode.SPLIT
    asset = AppriseAsset(app_id=application, app_desc="Completion Notifier", http_redirects=False, service_timeout=0)
    # Not `add(url)`, which takes a URL with a comma in it for two.
    service = Apprise.instantiate(url, asset=asset)
    if service is None:
        return {"taken": False, "said": "apprise does not understand the URL"}
    if 0 < service.title_maxlen < len(title) + COUNTER:
        # It would be cut.
        title, body = "", f"{title}\n{body}"
    apprise = Apprise(service, asset=asset)
    with apprise.notify(body=body, title=title, body_format=NotifyFormat.TEXT) as result:
        return {"taken": bool(result), "said": " ".join(entry.message for entry in result.logs())}


if __name__ == "__main__":
    main()
