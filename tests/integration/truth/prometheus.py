"""What a Prometheus sees that scrapes the daemon once a minute, and the shipped rules on it, run by promtool."""

import asyncio
import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.parser import text_string_to_metric_families

from tests.support.metric_names import RULES
from tests.support.promtool import promtool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

MINUTE_MS: Final = 60_000
KEPT_MINUTES: Final = 90
"""What no rule of these states looks back beyond."""

_OFFSET_SECONDS: Final = 17.0

_JOB: Final = {"job": "notifier", "instance": "127.0.0.1:8787"}
# The process is that of the tests, which may have run thousands of them by now.
_OF_THE_PROCESS: Final = "notifier_process_resident_memory_bytes"
_SAID: Final = frozenset(re.findall(r"notifier_[a-z_]+", RULES.read_text(encoding="utf-8"))) - {_OF_THE_PROCESS}
_SERIES: Final = re.compile("[{ ]")
_OF_A_MOMENT: Final = re.compile("_timestamp_seconds$|_start_time_seconds$")

_FIRING: Final = 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0'

Scrape = dict[str, float]
"""Each series that a rule may speak of, as Prometheus writes it, with its value."""


@dataclass
class Prometheus:
    """Scrapes once a minute: by the minute of the true clock, what a page said; None where nobody answered."""

    page: "Callable[[], Awaitable[str]]"
    now_ms: "Callable[[], int]"
    every_minutes: int = 1
    scrapes: dict[int, Scrape | None] = field(default_factory=dict)

    async def scrape(self) -> None:
        """Scrape now."""
        try:
            found = read(await self.page())
        except OSError:
            found = None
        self.scrapes[self.now_ms() // MINUTE_MS] = found

    @asynccontextmanager
    async def watching(self) -> "AsyncIterator[None]":
        """Scrape again and again, until the end of the block."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch(self) -> None:
        # Never at the moment at which a daemon is stopped, which is a whole minute.
        await asyncio.sleep(_OFFSET_SECONDS)
        while True:
            await self.scrape()
            await asyncio.sleep(self.every_minutes * MINUTE_MS / 1000)

    def case(self, name: str, fires: Collection[str]) -> dict[str, Any]:
        """Return the case of promtool: which alerts fire at the last scrape."""
        last = max(self.scrapes)
        first = max(min(self.scrapes), last - KEPT_MINUTES)
        minutes = range(first, last + 1)
        known = {name for minute in minutes for name in self.scrapes.get(minute) or {}}
        up = ["_" if minute not in self.scrapes else str(int(self.scrapes[minute] is not None)) for minute in minutes]
        series = [{"series": labelled("up", {}), "values": " ".join(up)}]
        series += [{"series": one, "values": " ".join(self._values(one, minutes))} for one in sorted(known)]
        return {
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [
                {
                    # The name of the state stands in what promtool says.
                    "expr": f'label_replace({_FIRING}, "state", {json.dumps(name)}, "", "")',
                    "eval_time": f"{last - first}m",
                    "exp_samples": [
                        {"labels": f'{{alertname="{alert}", state={json.dumps(name)}}}', "value": 1}
                        for alert in sorted(fires)
                    ],
                }
            ],
        }

    def _values(self, series: str, minutes: range) -> Iterator[str]:
        """Yield the value of each minute; promtool's time begins at 0, and so do moments."""
        is_moment = bool(_OF_A_MOMENT.search(series.partition("{")[0]))
        was_there = False
        for minute in minutes:
            if minute not in self.scrapes:
                yield "_"
                continue
            value = (self.scrapes[minute] or {}).get(series)
            if value is None:
                yield "stale" if was_there else "_"
            else:
                yield repr(value - minutes[0] * MINUTE_MS / 1000 if is_moment else value)
            was_there = value is not None


def read(page: str) -> Scrape:
    """Read a page as far as rules speak of it."""
    # All else is left out beforehand: reading a whole page takes 20 milliseconds, and days have thousands of pages.
    said = "".join(f"{line}\n" for line in page.splitlines() if _SERIES.split(line, maxsplit=1)[0] in _SAID)
    return {
        labelled(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(said)
        for sample in family.samples
    }


def labelled(name: str, labels: dict[str, str]) -> str:
    """Write a series."""
    return f"{name}{{{', '.join(f'{key}={json.dumps(value)}' for key, value in {**_JOB, **labels}.items())}}}"


def check(cases: Sequence[dict[str, Any]], folder: Path) -> None:
    """Run all cases at once, and fail with what differs."""
    (folder / RULES.name).write_bytes(RULES.read_bytes())
    (folder / "states.yml").write_text(json.dumps({"rule_files": [RULES.name], "tests": cases}))
    done = promtool("test", "rules", folder / "states.yml")
    assert done.returncode == 0, done.stdout + done.stderr
