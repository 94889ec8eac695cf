"""Looks for another daemon on this machine that watches the same sources: both would report the same events."""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from notifier.config import Settings, paths
from notifier.regular_files import is_there
from notifier.store.file.files import ESSENTIALS, sibling_path
from notifier.store.recovery import essentials

_log = logging.getLogger(__name__)


def warn_of_other_daemons(settings: Settings) -> None:
    """Log a warning if another state file on this machine has a source whose name is also in `settings`.

    Checks only at the first start, when the configured state file does not exist. Unreadable state files are ignored.
    May block.
    """
    if is_there(settings.store.path):
        return
    for state_file in _other_state_files(settings.store.path):
        snapshot = essentials.read(state_file).snapshot
        shared_names = sorted(set(settings.sources) & set(snapshot.sources if snapshot is not None else ()))
        if shared_names:
            _log.warning(
                "another state file on this machine has sources with the same names: if a second daemon uses it,"
                " it sends everything twice; if it is the same account, stop one of them, or set [store] path to that"
                " file",
                extra={"path": str(state_file), "source": ", ".join(shared_names)},
            )


def _other_state_files(own: Path) -> Iterator[Path]:
    candidates = {paths.default_state_file(os.environ)}
    with suppress(OSError):
        candidates |= {folder / paths.STATE_FILE_NAME for folder in paths.STATE_ROOT.glob("notifier*")}
    for state_file in sorted(candidates - {own}):
        if is_there(sibling_path(state_file, ESSENTIALS)):
            yield state_file
