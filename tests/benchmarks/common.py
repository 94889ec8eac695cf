"""Shared parts of the benchmarks: other processes, generated records, and figures with median and spread."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

import notifier
from notifier.events import Change, Completion, DetectedBy, EventType

HERE = Path(__file__).parent

LIBRARIES = (
    "import aiohttp, aiohttp.web, apscheduler.schedulers.asyncio, click, ijson, msgspec, orjson,"
    " pydantic_settings, sqlite_utils"
)
"""Imports the libraries that `notifier run` has loaded when it makes its first request."""

FIGURES = "BENCHMARK_FIGURES"
"""The environment variable that names the file to which figures are added, one JSON object a line."""


@contextmanager
def beside(script: str, *arguments: str) -> Iterator[str]:
    """Run a script of this folder in a separate process; yield the first line that it prints."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(timeout=30)


def completion(number: int) -> Completion:
    """Return a record in the API's v2 format."""
    raw = {
        "id": number,
        "training_id": 1046,
        "m_user_id": "5e580f0cb780600088bd2c11",
        "created": 1582830441803,
        "date_number": 20200227,
        "special_expiration_date_number": None,
        "m_instructor_id": None,
        "group_training_id": None,
        "notes": "",
        "signature": None,
        "files": [],
    }
    return Completion(
        str(number),
        "1046",
        "5e580f0cb780600088bd2c11",
        "2020-02-27",
        None,
        1582830441803,
        None,
        None,
        "",
        False,
        orjson.dumps(raw),
    )


def news(numbers: range) -> list[Change]:
    """Return changes that create new records."""
    return [Change(EventType.CREATED, completion(number), 1, DetectedBy.HEAD, "benchmark") for number in numbers]


def describe(name: str, figures: Sequence[float], unit: str) -> str:
    """Return the text of a figure: its median and range."""
    return f"{name:<44} {statistics.median(figures):>10.3f} {unit:<8} ({min(figures):.3f} to {max(figures):.3f})"


def report(name: str, figures: Sequence[float], unit: str, remark: str = "") -> None:
    """Print a figure's median and range, and append it to the file that BENCHMARK_FIGURES names, if it is set."""
    print(describe(name, figures, unit), remark, flush=True)
    if file := os.environ.get(FIGURES):
        spread = {"median": statistics.median(figures), "min": min(figures), "max": max(figures)}
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"name": name, **spread, "unit": unit}) + "\n")


def with_bytecode() -> dict[str, str]:
    """Compile the package, as an installation does; return the environment in which a program uses the bytecode.

    Otherwise, each start from a checkout may compile all modules, and a benchmark would measure that.
    """
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(Path(notifier.__file__).parent)], check=True)
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
