"""Opens a link in the desktop's browser."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Final

_PAGE_NAME: Final = "notifier-dashboard.html"
_TIMEOUT_SECONDS: Final = 5.0


def open_in_browser(link: str) -> bool:
    """Open a link in the desktop's browser; return False if that is not possible.

    Other users of the machine can read a program's arguments, so the link must not be an argument. Instead, the browser
    opens a local page that redirects to the link. Only the current user can read this page.
    """
    opener, folder = _find_opener(), os.environ.get("XDG_RUNTIME_DIR", "")
    # As root, the browser would not start, or would run with root's rights.
    if opener is None or not Path(folder).is_dir() or os.geteuid() == 0:
        return False
    page = Path(folder) / _PAGE_NAME
    try:
        _write_private(page, f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(link)}">')
        done = subprocess.run(  # noqa: S603 - no shell, and a program of the desktop
            [opener, str(page)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        # Some openers run until the browser is closed.
        return True
    except OSError:
        return False
    return done.returncode == 0


def _find_opener() -> str | None:
    if sys.platform == "darwin":
        return shutil.which("open")
    has_desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return shutil.which("xdg-open") if has_desktop else None


def _write_private(page: Path, text: str) -> None:
    with suppress(FileNotFoundError):
        page.unlink()
    descriptor = os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
