"""A process that imports all modules once, and then forks a child for each scenario.

A line of input is the name of a scenario and a folder. The child stops itself until strace is attached. The output is
the child's process id and, when the child has ended, the result of `os.waitstatus_to_exitcode`. If the scenario fails,
the child writes the traceback into the file `said` in the folder.
"""

import logging
import os
import signal
import sys
import traceback
from pathlib import Path

from tests.end_to_end.crash.scenarios import run_scenario


def main() -> None:
    """Run a scenario for each line of input."""
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
    except BaseException:  # noqa: BLE001 - the fault injector reads every error
        (folder / "said").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
