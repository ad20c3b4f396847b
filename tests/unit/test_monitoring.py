"""Dashboards and alerts ask for metrics and labels that exist, and each alert has its page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pelton.cache.replies.failures import Failure
from pelton.pipeline.metrics import Metrics

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "configs" / "prometheus" / "alerts.yml"
BOARD = ROOT / "configs" / "grafana" / "dashboards" / "pelton.json"
RUNBOOK = ROOT / "docs" / "operations" / "runbook.md"


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def queries() -> Iterator[Any]:
    for rule in alerts():
        yield pytest.param(rule["expr"], id=rule["alert"])
    for panel in json.loads(BOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")


def series() -> set[str]:
    """Names of all series that a worker serves; those of labelled metrics exist from the start."""
    return {sample.name for family in Metrics().registry.collect() for sample in family.samples}


@pytest.mark.parametrize("query", list(queries()))
def test_a_query_asks_for_what_is_served(query: str) -> None:
    """Each name is a series', so that no panel stays empty for a misspelt one."""
    names = set(re.findall(r"pelton_[a-z_]+", query))
    assert names
    assert names <= series() | {"pelton_cache_failures_total"}  # its kinds are the cache's, set at the worker's start
    assert query.count("(") == query.count(")")


@pytest.mark.parametrize("query", list(queries()))
def test_a_query_chooses_labels_that_exist(query: str) -> None:
    """Codes in a matcher are codes that a reply can have."""
    text = str({sample.labels.get("code") for family in Metrics().registry.collect() for sample in family.samples})
    for codes in re.findall(r'code=~"([^"]+)"', query):
        assert all(f"'{code}'" in text for code in codes.split("|"))


def test_each_alert_has_a_part_of_the_runbook() -> None:
    """And the runbook speaks of no alert that is gone."""
    names = [rule["alert"] for rule in alerts()]
    assert re.findall(r"^## (Pelton\w+)", RUNBOOK.read_text(), re.MULTILINE) == names
    for rule in alerts():
        assert rule["annotations"]["runbook"].endswith(f"runbook.md#{rule['alert'].lower()}")


def test_the_runbook_knows_each_kind_of_cache_failure() -> None:
    """The alert shows the kind; whoever reads on must find it."""
    part = RUNBOOK.read_text().partition("## PeltonCacheFails\n")[2].partition("\n## ")[0]
    assert [kind for kind in Failure if f"`{kind}`" not in part] == []


def test_the_scaler_asks_for_what_the_exporter_serves() -> None:
    """A misspelt query would scale to nothing."""
    manifests = list(yaml.safe_load_all((ROOT / "configs" / "kubernetes" / "worker.yaml").read_text()))
    [scaler] = [each for each in manifests if each["kind"] == "ScaledObject"]
    [name] = re.findall(r"pelton_\w+", scaler["spec"]["triggers"][0]["metadata"]["query"])
    assert f'"{name}"' in (ROOT / "pelton" / "commands" / "backlog.py").read_text()
    assert scaler["spec"]["scaleTargetRef"]["name"] in {each["metadata"]["name"] for each in manifests}


def test_each_alert_has_a_rule_test() -> None:
    """That sees it fire, and sees it silent: promtool runs them (`make monitoring-check`)."""
    seen: dict[str, set[bool]] = {}
    for test in yaml.safe_load((ALERTS.parent / "tests" / "alerts.yml").read_text())["tests"]:
        for look in test["alert_rule_test"]:
            seen.setdefault(look["alertname"], set()).add(bool(look["exp_alerts"]))
    assert seen == {rule["alert"]: {True, False} for rule in alerts()}
