"""A process that has everything imported and forks one child for each walk, which waits until it is traced.

One line in: a scenario and a folder. Lines out: the child's process id; when it has ended, how (as `os.waitstatus_to_
exitcode` says it), and what it said.
"""

import logging
import os
import signal
import sys
import traceback
from pathlib import Path

from tests.end_to_end.crash.scenarios import run_scenario


def main() -> None:
    """Serve until the input ends."""
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        name, folder = line.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            _run_traced(name, Path(folder))
        os.waitpid(child, os.WUNTRACED)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run_traced(name: str, folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        run_scenario(name, folder)
    except BaseException:  # noqa: BLE001 - whatever it is, the walker reads it
        (folder / "said").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
