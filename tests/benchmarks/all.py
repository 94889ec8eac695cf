"""Runs all benchmarks one after the other, with sizes that take a quarter of an hour in total.

    python -m tests.benchmarks.all [--runs 1] [--keep] [--note TEXT] [--only WORD ...]

Prints one table: the minimum, the notifier, their ratio, and the ratio (or figure) of the last kept run. With several
runs, each figure is the median of the runs' medians, with the lowest and the highest of them.

`--keep` writes all figures to `figures.json`, which is in the repository, so that its diff shows regressions. On a
machine that does other work, only the ratios are meaningful, and those of processor time are the most reliable.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.common import FIGURES, HERE

KEPT: Final = HERE / "figures.json"

MISSING: Final = "missing"
"""Stands where a benchmark failed, left out a program that is not installed, or no longer reports a figure."""

Figures = dict[str, dict[str, Any]]
"""What a benchmark reported, by name: `median`, `min`, `max` and `unit`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: names of figures in the benchmark's report; None if there is no minimum or ratio."""

    what: str
    minimum: str | None
    ours: str
    ratio: str | None = None

    @property
    def compared(self) -> str:
        """The figure that is compared with that of the last kept run."""
        return self.ratio or self.ours


@dataclass(frozen=True, slots=True)
class Run:
    """One benchmark with its arguments, and its rows of the table."""

    command: str
    rows: Sequence[Row]


def _delivery(what: str, minimum: str, ratio: str) -> Sequence[Row]:
    ours = "notifier, signed and written down"
    return (
        Row(what, minimum, ours, f"ratio to bodies {ratio}"),
        Row(f"{what}, processor", None, ours, f"ratio to bodies {ratio}, of processor time"),
    )


_MADE: Final = "bare loop, bodies made from the same rows"
_LIBRARIES: Final = "bare import of the libraries, memory"

RUNS: Final = (
    Run(
        "startup --rounds 7",
        (
            Row(
                "start to first request", "bare import of the libraries", "notifier run, to its first request", "ratio"
            ),
            Row(
                "start, processor",
                "bare import, processor time",
                "notifier run, processor time",
                "ratio of processor time",
            ),
            Row("notifier --version", None, "notifier --version"),
            Row("notifier --help", None, "notifier --help"),
        ),
    ),
    Run("idle --seconds 45", (Row("at rest, memory", _LIBRARIES, "notifier at rest, memory"),)),
    Run(
        "idle --seconds 45 --no-port", (Row("at rest without a port, memory", _LIBRARIES, "notifier at rest, memory"),)
    ),
    Run("delivery --rounds 3", _delivery("single events", "bare loop, bodies ready", "ready")),
    Run("delivery --batch 100 --events 30000 --rounds 3", _delivery("in batches of 100", _MADE, "made")),
    Run(
        "sweep --records 200000",
        (
            Row("first sweep, 200,000 records", "bare orjson and executemany", "notifier, first sweep", "ratio"),
            Row("first sweep, processor", None, "notifier, first sweep", "ratio of processor time"),
            Row("first sweep, peak of memory", None, "peak memory of the sweep"),
        ),
    ),
    Run(
        "detection --records 200000 --sweeps-only",
        (
            Row("quiet sweep, 200,000 records", "bare re-read", "quiet sweep", "quiet sweep, times the re-read"),
            Row("quiet sweep, processor", None, "quiet sweep", "quiet sweep, times its processor time"),
        ),
    ),
    Run(
        "latency --events 200",
        (
            Row("API answer to webhook, p50", "minimum, p50", "answer to webhook, p50", "p50, times the minimum's"),
            Row("API answer to webhook, p99", "minimum, p99", "answer to webhook, p99", "p99, times the minimum's"),
        ),
    ),
    Run(
        "sources --seconds 25",
        (
            Row(
                "200 sources at 5 s, processor",
                "bare loop, processor time a poll",
                "notifier, processor time a poll",
                "processor time, times the minimum's",
            ),
            Row("200 sources, lateness p99", None, "notifier, lateness p99"),
            Row("200 sources, memory", None, "notifier, memory"),
        ),
    ),
    Run(
        "wake",
        (Row("wake-up, 1,000 destinations", "all destinations, processor time", "those concerned, processor time"),),
    ),
    Run(
        "readers --seconds 5 --rounds 1",
        (
            Row(
                "delivery beside 200 readers",
                "delivery without readers",
                "delivery with 200 readers",
                "ratio of the rates",
            ),
            Row(
                "the same, detection to delivery p99",
                "  detection to delivery without readers, p99",
                "  detection to delivery with 200 readers, p99",
            ),
        ),
    ),
    Run(
        "slack_burst --completions 200",
        (Row("200 at once to Slack, until reported", "minimum in digests", "from entry to last message in digests"),),
    ),
    Run(
        "dashboard --records 200000 --events 20000",
        (Row("front page, 200,000 records", "/healthz (minimum)", "/"),),
    ),
    Run(
        "peers",
        (
            Row("10,000 posts beside Alertmanager", "alertmanager, posts", "notifier, posts"),
            Row("beside a script in a loop", "script, posts", "notifier, posts"),
            Row("beside Node-RED", "node-red, posts", "notifier, posts"),
            Row("latency p50 beside Alertmanager", "alertmanager, latency p50", "notifier, latency p50"),
            Row("latency p99 beside Alertmanager", "alertmanager, latency p99", "notifier, latency p99"),
            Row("lost at SIGKILL beside Alertmanager", "alertmanager, lost", "notifier, lost"),
            Row("lost at SIGKILL beside a script", "script, lost", "notifier, lost"),
            Row("lost at SIGKILL beside Node-RED", "node-red, lost", "notifier, lost"),
        ),
    ),
)

_TITLES: Final = ("what", "minimum or peer", "notifier", "ratio", "kept")
_WIDTHS: Final = (38, 34, 34, 18, 18)


def measure(run: Run) -> Figures:
    """Run a benchmark in a separate process, and return its figures; they are empty if it failed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "figures")
        file.touch()
        command = [sys.executable, "-m", *f"tests.benchmarks.{run.command}".split()]
        environ = {**os.environ, FIGURES: str(file)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{run.command} failed:\n{done.stderr[-2000:]}", file=sys.stderr)
        reported = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        return {figure.pop("name"): figure for figure in reported}


def combine(runs: Sequence[Figures]) -> Figures:
    """Combine the figures of several runs: the median, lowest and highest of the runs' medians."""
    if len(runs) == 1:
        return runs[0]
    names = dict.fromkeys(name for figures in runs for name in figures)
    found: Figures = {}
    for name in names:
        reported = [figures[name] for figures in runs if name in figures]
        medians = [figure["median"] for figure in reported]
        spread = {"median": statistics.median(medians), "min": min(medians), "max": max(medians)}
        found[name] = {**spread, "unit": reported[0]["unit"], "runs": len(reported)}
    return found


def cells(row: Row, figures: Figures, kept: Mapping[str, Any]) -> Sequence[str]:
    """Return the texts of a row. The ratio is calculated from the medians if the benchmark reports none."""
    minimum, ours = (figures.get(name) if name else None for name in (row.minimum, row.ours))
    if row.ratio is not None:
        ratio = _text(figures.get(row.ratio)) or MISSING
    elif minimum and ours and minimum["median"]:
        ratio = f"{ours['median'] / minimum['median']:.2f}"
    else:
        ratio = ""
    shown = "" if row.minimum is None else _text(minimum) or MISSING
    return row.what, shown, _text(ours) or MISSING, ratio, _text(kept.get(row.compared))


def _text(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    digits = 0 if figure["median"] >= 1000 else 2
    spread = f" ({figure['min']:,.{digits}f}-{figure['max']:,.{digits}f})" if figure.get("runs", 1) > 1 else ""
    return f"{figure['median']:,.{digits}f} {figure['unit']}".strip() + spread


def _line(texts: Sequence[str]) -> str:
    return "  ".join(f"{text:<{width}}" for text, width in zip(texts, _WIDTHS, strict=True)).rstrip()


def surroundings() -> dict[str, Any]:
    """Return where and when the figures were measured, and the machine's load before."""
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Run the benchmarks, print the table, and keep the figures if `--keep` is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1, help="how often to run all of them")
    parser.add_argument("--keep", action="store_true", help=f"write the figures to {KEPT.name}")
    parser.add_argument("--note", default="", help="what to know about the figures that are kept")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="only the benchmarks whose name has one of these")
    options = parser.parse_args()
    runs = [run for run in RUNS if options.only is None or any(word in run.command for word in options.only)]
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    about: dict[str, dict[str, Any]] = {}
    measured: dict[str, list[Figures]] = {run.command: [] for run in runs}
    began = time.monotonic()
    for run in [*runs] * options.runs:
        started = time.monotonic()
        about.setdefault(run.command, surroundings())
        measured[run.command].append(measure(run))
        print(f"{run.command}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    found = {
        command: about[command] | {"note": options.note, "figures": combine(figures)}
        for command, figures in measured.items()
    }
    print(_line(_TITLES))
    for run in runs:
        before = kept.get(run.command, {"figures": {}})
        for row in run.rows:
            print(_line(cells(row, found[run.command]["figures"], before["figures"])))
    print(f"\n{time.monotonic() - began:.0f} s")
    done = {command: it for command, it in found.items() if it["figures"]}
    if options.keep:
        known = kept | done
        ordered = {run.command: known[run.command] for run in RUNS if run.command in known}
        KEPT.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if len(done) == len(found) else 1)


if __name__ == "__main__":
    main()
