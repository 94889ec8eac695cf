"""Scrapes the daemon's metrics every minute, as Prometheus does, and tests the shipped alert rules with promtool."""

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
"""No alert rule that is tested here looks back further."""

_OFFSET_SECONDS: Final = 17.0

_JOB: Final = {"job": "notifier", "instance": "127.0.0.1:8787"}
# Not compared, because the process is that of the tests, whose memory depends on earlier tests.
_MEMORY: Final = "notifier_process_resident_memory_bytes"
_USED: Final = frozenset(re.findall(r"notifier_[a-z_]+", RULES.read_text(encoding="utf-8"))) - {_MEMORY}
_SERIES: Final = re.compile("[{ ]")
_TIMESTAMP: Final = re.compile("_timestamp_seconds$|_start_time_seconds$")

_FIRING: Final = 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0'

Scrape = dict[str, float]
"""The value of each series that a rule uses; the key is the series in Prometheus's notation."""


@dataclass
class Prometheus:
    """Scrapes the metrics page periodically.

    `scrapes` has the result for each minute of the true clock, None if the daemon did not answer.
    """

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
        """Scrape periodically until the end of the block."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _watch(self) -> None:
        # Daemons are stopped at whole minutes, so scrapes are made between them.
        await asyncio.sleep(_OFFSET_SECONDS)
        while True:
            await self.scrape()
            await asyncio.sleep(self.every_minutes * MINUTE_MS / 1000)

    def case(self, name: str, fires: Collection[str]) -> dict[str, Any]:
        """Return a test case for promtool: exactly the alerts `fires` fire at the last scrape."""
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
                    # This makes promtool print the name of the state.
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
        """Yield the value of each minute. Timestamps are relative to the first minute, like promtool's time."""
        is_timestamp = bool(_TIMESTAMP.search(series.partition("{")[0]))
        was_there = False
        for minute in minutes:
            if minute not in self.scrapes:
                yield "_"
                continue
            value = (self.scrapes[minute] or {}).get(series)
            if value is None:
                yield "stale" if was_there else "_"
            else:
                yield repr(value - minutes[0] * MINUTE_MS / 1000 if is_timestamp else value)
            was_there = value is not None


def read(page: str) -> Scrape:
    """Return the series of a metrics page that rules use."""
    # Other lines are removed first, because parsing a whole page takes 20 ms and there are thousands of pages.
    used = "".join(f"{line}\n" for line in page.splitlines() if _SERIES.split(line, maxsplit=1)[0] in _USED)
    return {
        labelled(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(used)
        for sample in family.samples
    }


def labelled(name: str, labels: dict[str, str]) -> str:
    """Return a series in Prometheus's notation."""
    return f"{name}{{{', '.join(f'{key}={json.dumps(value)}' for key, value in {**_JOB, **labels}.items())}}}"


def check(cases: Sequence[dict[str, Any]], folder: Path) -> None:
    """Check all cases with one run of promtool."""
    (folder / RULES.name).write_bytes(RULES.read_bytes())
    (folder / "states.yml").write_text(json.dumps({"rule_files": [RULES.name], "tests": cases}))
    done = promtool("test", "rules", folder / "states.yml")
    assert done.returncode == 0, done.stdout + done.stderr
