"""Counts the steps of Python's interpreter (opcodes), by part of the program.

Unlike time, the number of steps is nearly the same in each run, and on a machine that does other work. `sys.settrace`
counts them in all threads that start afterwards. It does not see what C code does.
"""

import sys
import sysconfig
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, cast

import notifier

_OURS: Final = Path(notifier.__file__).parent
_LIBRARIES: Final = Path(sysconfig.get_path("purelib"))
_EVENT_LOOP: Final = ("asyncio", "selectors")


class StepCounter:
    """Counts the steps of all threads while `is_counting` is true."""

    def __init__(self) -> None:
        self.is_counting = False
        self._steps: Counter[CodeType] = Counter()

    def install(self) -> None:
        """Trace this thread and all that are started from now on."""
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def by_part(self) -> Counter[str]:
        """Return the steps counted so far, by part of the program."""
        steps: Counter[str] = Counter()
        for code, count in self._steps.items():
            steps[part_of(Path(code.co_filename))] += count
        return steps

    def _trace(self, frame: FrameType, _event: str, _argument: object) -> Callable[..., Any] | None:
        if not self.is_counting:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._count

    def _count(self, frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        if event == "opcode":
            self._steps[frame.f_code] += 1
        return self._count


@contextmanager
def counted() -> Iterator[StepCounter]:
    """Trace this process; the steps count from the moment when `is_counting` is set to true."""
    counter = StepCounter()
    counter.install()
    try:
        yield counter
    finally:
        counter.is_counting = False
        threading.settrace(cast("Any", None))
        sys.settrace(None)


def part_of(file: Path) -> str:
    """Return the part of the program to which a file belongs: one of our packages, a library, or the event loop."""
    if file.is_relative_to(_OURS):
        return f"notifier/{file.relative_to(_OURS).parts[0].removesuffix('.py')}"
    if file.is_relative_to(_LIBRARIES):
        return file.relative_to(_LIBRARIES).parts[0]
    if any(name in (*file.parts, file.stem) for name in _EVENT_LOOP):
        return "asyncio"
    return "Python's other libraries"


def print_steps(title: str, minimum: Mapping[str, float], ours: Mapping[str, float]) -> None:
    """Print the steps of the minimum and of the notifier, by part and in sum."""
    print(f"{title:<28}{'minimum':>10}{'notifier':>10}")
    for part in sorted({*minimum, *ours}, key=lambda part: -ours.get(part, 0)):
        print(f"{part:<28}{minimum.get(part, 0):>10.0f}{ours.get(part, 0):>10.0f}")
    print(f"{'all':<28}{sum(minimum.values()):>10.0f}{sum(ours.values()):>10.0f}")
