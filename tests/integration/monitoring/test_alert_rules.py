"""The alert rules: Prometheus accepts them, each fires only when it should, and each names what to do."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from notifier.cli.app import COMMANDS
from tests.support.metric_names import RULES
from tests.support.promtool import promtool

TEXT = RULES.read_text(encoding="utf-8")
ALERTS = re.findall(r"^      - alert: (\w+)$", TEXT, re.MULTILINE)
TARGET = {"job": "notifier", "instance": "127.0.0.1:8787"}

Labels = dict[str, str]


@dataclass(frozen=True)
class Case:
    """Series (Prometheus's notation, a value a minute), and which labels an alert has after some minutes, if any."""

    alert: str
    series: dict[str, str]
    at: str
    fires: list[Labels] = field(default_factory=list)


def source(metric: str, **labels: str) -> str:
    return series(f"notifier_source_{metric}", source="acme", **labels)


def destination(metric: str, **labels: str) -> str:
    return series(f"notifier_destination_{metric}", destination="hr", **labels)


def series(metric: str, **labels: str) -> str:
    written = ", ".join(f'{name}="{value}"' for name, value in {**TARGET, **labels}.items())
    return f"{metric}{{{written}}}"


UP = series("up")
START = series("notifier_start_time_seconds")
STORE = {"store": "db.example.com:5432/notifier/acme"}
HOLDS = series("notifier_holds_store", **STORE)
HOLDS_TOO = series("notifier_holds_store", instance="other", **STORE)
HOLDS_ANOTHER = series("notifier_holds_store", instance="third", store="db.example.com:5432/notifier/globex")
SUCCESS, INTERVAL = source("last_success_timestamp_seconds"), source("poll_interval_seconds")
STARTING, FAILING = source("state", state="starting"), source("state", state="failing")
WELL = source("state", state="ok")
LIMITED = source("state", state="rate_limited")
BUDGET = source("budget_used_ratio")
HELD_BACK = source("held_records", what="removals")
OLDEST, DISABLED, DEAD = (
    destination("oldest_pending_seconds"),
    destination("state", state="disabled"),
    destination("dead"),
)


def of_the_store(condition: str) -> str:
    return series("notifier_condition", condition=condition, subject="store")


UNWRITABLE = {"condition": "store_unwritable", "subject": "store"}
GAP = series("notifier_condition", condition="gap", subject="sources/acme")
FREE, WAL = series("notifier_state_file_free_bytes"), series("notifier_state_file_bytes", file="wal")
MEMORY = series("notifier_process_resident_memory_bytes")
OPEN, MOST = series("notifier_process_open_fds"), series("notifier_process_max_fds")

LATE = {"condition": "destination_behind", "subject": "destinations/hr"}
OFF = {"condition": "clock_off", "subject": "clock"}
BEHIND, CLOCK = series("notifier_condition", **LATE), series("notifier_condition", **OFF)

FAILS = {"condition": "destination_failing", "subject": "destinations/hr"}
PUT_BACK = series("notifier_condition", condition="deliveries_dead", subject="destinations/hr")
FULL = {"condition": "disk_nearly_full", "subject": "store"}
DOWN = series("notifier_condition", **FAILS)
RESTARTING = series("notifier_condition", condition="restarting", subject="process")
UNDELIVERED, EVALUATED = series("notifier_alerts_undelivered_seconds"), series("notifier_evaluation_age_seconds")
OF_THEIR_OWN = ("source_failing", "destination_failing", "deliveries_dead", "removals_held", "alerts_undelivered")
"""Conditions that have an alert of their own, so that `NotifierCondition` does not fire for them."""


def condition(name: str) -> str:
    return series("notifier_condition", condition=name, subject="any")


SOURCE, DESTINATION = {"source": "acme"}, {"destination": "hr"}
OFTEN_LIMITED = {**SOURCE, "state": "rate_limited"}

CASES = [
    Case("NotifierDown", {UP: "1x10 0x20"}, "20m", [{}]),
    Case("NotifierDown", {UP: "1x10 0x2 1x20"}, "20m"),
    Case("NotifierAbsent", {UP: "1x5 _x30"}, "30m", [{}]),
    Case("NotifierAbsent", {UP: "0x30"}, "30m"),
    Case("NotifierNobodyHolds", {HOLDS: "1x5 0x10"}, "12m", [STORE]),
    Case("NotifierNobodyHolds", {HOLDS: "0x10", HOLDS_TOO: "0x10", HOLDS_ANOTHER: "1x10"}, "9m", [STORE]),
    Case("NotifierNobodyHolds", {HOLDS: "0x10", HOLDS_TOO: "1x10"}, "9m"),
    Case("NotifierRestarting", {START: "100+60x30"}, "20m", [{}]),
    Case("NotifierRestarting", {START: "100x10 700x10 1300x10"}, "29m"),
    Case("NotifierRestarting", {START: "100x13 880x13 1660x13 2440x13 3220x13"}, "58m", [{}]),
    Case("NotifierRestarting", {RESTARTING: "1x10"}, "5m", [{"condition": "restarting", "subject": "process"}]),
    Case("NotifierSourceNotPolled", {SUCCESS: "0+60x5 300x30", INTERVAL: "60x40"}, "30m", [SOURCE]),
    # One outage causes one alert: a source that reports a failure has an alert of its own.
    Case("NotifierSourceNotPolled", {SUCCESS: "0+60x5 300x30", INTERVAL: "60x40", WELL: "0x40"}, "30m"),
    Case("NotifierSourceNotPolled", {SUCCESS: "0+60x5 300x5 660+60x30", INTERVAL: "60x40"}, "30m"),
    # The clock was days ahead once: a success in the future is not shown.
    Case("NotifierSourceNotPolled", {WELL: "1x30", INTERVAL: "60x30"}, "20m", [SOURCE]),
    Case("NotifierSourceNotPolled", {SUCCESS: "0+60x30", INTERVAL: "60x30"}, "20m"),
    # A clock that is wrong has an alert of its own.
    Case("NotifierSourceNotPolled", {SUCCESS: "-3600+60x30", INTERVAL: "60x30", CLOCK: "1x30"}, "20m"),
    Case("NotifierSourceNotPolled", {SUCCESS: "-3600+60x30", INTERVAL: "60x30", CLOCK: "0x30"}, "20m", [SOURCE]),
    Case("NotifierSourceNotPolled", {SUCCESS: "0x30", INTERVAL: "600x30"}, "20m"),
    Case("NotifierSourceNeverPolled", {STARTING: "1x30"}, "20m", [{**SOURCE, "state": "starting"}]),
    Case("NotifierSourceNeverPolled", {STARTING: "1x5 0x30"}, "20m"),
    Case("NotifierSourceFailing", {FAILING: "0x5 1x40", LIMITED: "0x45"}, "40m", [SOURCE]),
    # The source alternates between failing and rate-limited.
    Case("NotifierSourceFailing", {FAILING: "1" + " 0 1" * 22, LIMITED: "0" + " 1 0" * 22}, "35m", [SOURCE]),
    Case("NotifierSourceFailing", {FAILING: "1x3 0x40", LIMITED: "0x45"}, "20m"),
    Case("NotifierSourceRateLimited", {LIMITED: "1 1 0 1 1 0 1 1 0 1 1 0 1 1 0 1 1 0 1 1 0 1"}, "20m", [OFTEN_LIMITED]),
    Case("NotifierSourceRateLimited", {LIMITED: "1 0 0 0 1 0 0 0 1 0 0 0 1 0 0 0 1 0 0 0 1 0"}, "20m"),
    Case("NotifierSourceBudgetUsedUp", {BUDGET: "1x150"}, "140m", [SOURCE]),
    Case("NotifierSourceBudgetUsedUp", {BUDGET: "1x60 0.4x90"}, "140m"),
    Case("NotifierHeldBack", {HELD_BACK: "40x20"}, "20m", [{**SOURCE, "what": "removals"}]),
    Case("NotifierHeldBack", {HELD_BACK: "40x10 0x10"}, "20m"),
    Case("NotifierDestinationFailing", {DOWN: "1x40"}, "25m", [{**DESTINATION, **FAILS}]),
    # A replay of old events is no outage.
    Case("NotifierDestinationFailing", {OLDEST: "2592000+60x40"}, "25m"),
    Case("NotifierDestinationDisabled", {DISABLED: "1x10"}, "10m", [{**DESTINATION, "state": "disabled"}]),
    Case("NotifierDestinationDisabled", {DISABLED: "0x10"}, "10m"),
    Case("NotifierDeliveriesDead", {DEAD: "3x5"}, "5m", [DESTINATION]),
    Case("NotifierDeliveriesDead", {DEAD: "0x5"}, "5m"),
    # They are to be tried again, and are not delivered yet.
    Case("NotifierDeliveriesDead", {DEAD: "3x2 0x5", PUT_BACK: "1x7"}, "6m", [DESTINATION]),
    Case("NotifierDeliveriesDead", {DEAD: "3x5", PUT_BACK: "1x5"}, "5m", [DESTINATION]),
    Case("NotifierCondition", {GAP: "1x10"}, "10m", [{"condition": "gap", "subject": "sources/acme"}]),
    Case("NotifierCondition", {GAP: "0x10"}, "10m"),
    Case("NotifierDestinationBehind", {BEHIND: "1x10"}, "10m", [LATE]),
    Case("NotifierDestinationBehind", {BEHIND: "0x10"}, "10m"),
    Case("NotifierClockOff", {CLOCK: "1x10"}, "10m", [OFF]),
    Case("NotifierClockOff", {CLOCK: "0x10"}, "10m"),
    *(
        Case("NotifierCondition", {of_the_store(name): "1x10"}, "10m", [{"condition": name, "subject": "store"}])
        for name in ("state_rebuilt", "state_behind", "essentials_not_kept")
    ),
    Case("NotifierAlertsUndelivered", {UNDELIVERED: "0+60x30"}, "20m", [{}]),
    Case("NotifierAlertsUndelivered", {UNDELIVERED: "0x30"}, "20m"),
    Case("NotifierNotEvaluated", {EVALUATED: "10 10 10 70+60x10"}, "10m", [{}]),
    Case("NotifierNotEvaluated", {EVALUATED: "10x10"}, "10m"),
    *(Case("NotifierCondition", {condition(name): "1x10"}, "10m") for name in OF_THEIR_OWN),
    Case("NotifierStoreUnwritable", {of_the_store("store_unwritable"): "0x5 1x10"}, "10m", [UNWRITABLE]),
    Case("NotifierStoreUnwritable", {of_the_store("state_behind"): "1x10"}, "10m"),
    Case("NotifierDiskNearlyFull", {of_the_store("disk_nearly_full"): "1x10"}, "10m", [FULL]),
    # A tenth of a small disk is enough free space: the daemon decides.
    Case("NotifierDiskNearlyFull", {FREE: "150000000x10"}, "10m"),
    Case("NotifierDiskFilling", {FREE: "4000000000-2000000x500"}, "480m", [{}]),
    Case("NotifierDiskFilling", {FREE: "4000000000x500"}, "480m"),
    Case("NotifierDiskFilling", {FREE: "900000000000-100000000x500"}, "480m"),
    Case("NotifierWriteAheadLogGrows", {WAL: "600000000x80"}, "70m", [{"file": "wal"}]),
    Case("NotifierWriteAheadLogGrows", {WAL: "600000000x50 0x30"}, "70m"),
    Case("NotifierMemoryHigh", {MEMORY: "600000000x50"}, "40m", [{}]),
    Case("NotifierMemoryHigh", {MEMORY: "70000000x50"}, "40m"),
    Case("NotifierFilesRunOut", {OPEN: "900x30", MOST: "1024x30"}, "20m", [{}]),
    Case("NotifierFilesRunOut", {OPEN: "40x30", MOST: "1024x30"}, "20m"),
]


def test_promtool_accepts_the_alert_rules() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_promtool_accepts_the_scrape_configuration(tmp_path: Path) -> None:
    (tmp_path / RULES.name).write_text(TEXT)
    written = (RULES.parent / "prometheus.yml").read_text(encoding="utf-8")
    with_token = re.sub(r"# (authorization:|  credentials_file)", r"\1", written)
    assert with_token != written
    for configuration in (written, with_token):
        (tmp_path / "prometheus.yml").write_text(configuration)
        done = promtool("check", "config", "--syntax-only", tmp_path / "prometheus.yml")
        assert done.returncode == 0, done.stderr


def test_each_alert_fires_exactly_as_its_cases_expect(tmp_path: Path) -> None:
    # Otherwise promtool requires every text in the cases, word for word.
    without_texts = re.sub(r"        annotations:\n(?:          .*\n)+", "", TEXT)
    assert "summary" not in without_texts
    (tmp_path / "rules.yml").write_text(without_texts)
    tests = [_written(case) for case in CASES]
    (tmp_path / "cases.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": tests}))
    done = promtool("test", "rules", tmp_path / "cases.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def _written(case: Case) -> dict[str, Any]:
    severity = re.findall(rf"alert: {case.alert}\n(?:(?!alert:).*\n)*?\s+severity: (\w+)", TEXT)[0]
    # An absent notifier has no instance, and an alert about a store concerns no single process.
    target = {"NotifierAbsent": {"job": TARGET["job"]}, "NotifierNobodyHolds": {}}.get(case.alert, TARGET)
    fires = [{"exp_labels": {**target, **labels, "severity": severity}} for labels in case.fires]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": fires}],
    }


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert {(case.alert, bool(case.fires)) for case in CASES} == {
        (alert, fires) for alert in ALERTS for fires in (True, False)
    }


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_severity_summary_description_and_action(alert: str) -> None:
    rule = TEXT.partition(f"- alert: {alert}\n")[2].partition("- alert: ")[0]
    for key in ("severity: ", "summary: ", "description: ", "action: "):
        assert rule.count(key) == 1


def test_commands_named_in_alerts_exist() -> None:
    named = re.findall(r"`notifier (\w[\w-]*)", TEXT)
    assert len(named) > 10
    assert set(named) <= set(COMMANDS)
