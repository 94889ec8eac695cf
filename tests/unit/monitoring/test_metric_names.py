"""Alert rules and dashboard use only metrics that exist, with the labels and states that they have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.metric_names import HISTOGRAMS, METRICS, RULES, STATES
from tests.support.promtool import promtool

DASHBOARD = json.loads((RULES.parent / "grafana-dashboard.json").read_text(encoding="utf-8"))
COMMON_LABELS = {"job", "instance", "le"}

_METRIC = re.compile(r"\b(notifier_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring) \(([^)]*)\)")
_VARIABLES = {"$__rate_interval": "5m", "$__interval": "1m"}


def queries_of_dashboard() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (note["expr"] for note in DASHBOARD["annotations"]["list"] if "expr" in note)


def queries_of_rules() -> Iterator[str]:
    lines = iter(RULES.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.strip().startswith("expr:"):
            query = line.partition("expr:")[2].replace(">-", "")
            for more in lines:
                if not more.startswith("          "):
                    break
                query += more
            yield query.strip()


QUERIES = [*queries_of_rules(), *queries_of_dashboard()]


def base(series: str) -> str:
    stem = re.sub(r"_(bucket|sum|count)$", "", series)
    return stem if stem in HISTOGRAMS else series


@pytest.mark.parametrize("query", QUERIES)
def test_query_uses_only_metrics_labels_and_states_that_exist(query: str) -> None:
    for series, matchers in _METRIC.findall(query):
        labels = METRICS[base(series)]
        assert series.endswith("_bucket") == (base(series) in HISTOGRAMS)
        for label, _, value in _MATCHER.findall(matchers):
            assert label in labels | COMMON_LABELS
            if label == "state":
                assert value in STATES[series]


@pytest.mark.parametrize("query", QUERIES)
def test_query_groups_only_by_labels_of_its_metrics(query: str) -> None:
    there = COMMON_LABELS.union(*(METRICS[base(series)] for series, _ in _METRIC.findall(query)))
    for group in _GROUPED.findall(query):
        assert set(group.replace(" ", "").split(",")) <= there


def test_alert_texts_and_legends_show_only_labels_that_exist() -> None:
    shown = set(re.findall(r"\$labels\.(\w+)", RULES.read_text(encoding="utf-8")))
    shown |= {
        label
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
    }
    assert shown <= COMMON_LABELS.union(*METRICS.values())


def test_rules_and_dashboard_use_all_metrics_except_two() -> None:
    used = {base(series) for query in QUERIES for series, _ in _METRIC.findall(query)}
    left_out = METRICS.keys() - used
    assert left_out <= {"notifier_build_info", "notifier_source_next_poll_timestamp_seconds"}


def test_promtool_accepts_every_query_of_the_dashboard(tmp_path: Path) -> None:
    def readable(query: str) -> str:
        for variable, value in _VARIABLES.items():
            query = query.replace(variable, value)
        return re.sub(r"\$\w+", ".*", query)

    rules = [
        {"record": f"panel:{number}", "expr": readable(query)} for number, query in enumerate(queries_of_dashboard())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stderr


# The file of the dashboard


def test_dashboard_lets_the_user_choose_the_data_source() -> None:
    choice = DASHBOARD["templating"]["list"][0]
    assert (choice["name"], choice["type"], choice["query"]) == ("datasource", "datasource", "prometheus")
    assert {source["uid"] for source in data_sources(DASHBOARD)} == {"${datasource}", "-- Grafana --"}


def data_sources(value: Any) -> Iterator[dict[str, Any]]:
    match value:
        case dict():
            if isinstance(value.get("datasource"), dict):
                yield value["datasource"]
            for inner in value.values():
                yield from data_sources(inner)
        case list():
            for inner in value:
                yield from data_sources(inner)
        case _:
            pass


def test_dashboard_contains_nothing_specific_to_one_machine() -> None:
    assert DASHBOARD["id"] is None
    assert DASHBOARD["uid"] == "completion-notifier"
    assert DASHBOARD["schemaVersion"] >= 36
    assert "http" not in json.dumps(DASHBOARD)


def test_dashboard_panels_have_unique_ids_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        taken |= cells


def test_dashboard_panels_have_title_description_and_queries() -> None:
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["description"]
        assert [target["refId"] for target in panel["targets"]] == [*"ABCDEFGH"][: len(panel["targets"])]
        assert all(target["expr"] for target in panel["targets"])


def test_dashboard_state_timelines_map_every_state() -> None:
    shown = [
        {option["text"] for option in panel["fieldConfig"]["defaults"]["mappings"][0]["options"].values()}
        for panel in DASHBOARD["panels"]
        if panel["type"] == "state-timeline"
    ]
    assert shown == [set(states) for states in STATES.values()]
