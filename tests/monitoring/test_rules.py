"""The alert rules: valid, on metrics that exist, fired by what they are for, and explained to those woken."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.promql import ROOT, RULES, alerts, labels_of, promtool, rules, selectors, unknown

PACKAGING = ROOT / "packaging/prometheus"
UNIT_TESTS = PACKAGING / "powerd.rules.test.yml"
HANDBOOK = ROOT / "docs/alerts.md"

of_every_alert = pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])


@pytest.fixture(scope="module")
def unit_tests() -> list[dict[str, Any]]:
    return list(yaml.safe_load(UNIT_TESTS.read_text(encoding="utf-8"))["tests"])


def test_each_alert_fires_when_it_should_and_not_when_it_should_not() -> None:
    assert promtool("test", "rules", UNIT_TESTS) == ""


def test_prometheus_takes_the_rules_and_the_example_configuration() -> None:
    assert promtool("check", "rules", RULES) == ""
    assert promtool("check", "config", PACKAGING / "prometheus.yml") == ""


def test_the_unit_tests_are_of_these_rules_and_notice_an_alert_that_is_gone(tmp_path: Path) -> None:
    text = RULES.read_text(encoding="utf-8")
    broken = text.replace('powerd_failsafe_active{cause="power_brake"} == 1', "vector(0) > 0")
    assert broken != text
    (tmp_path / RULES.name).write_text(broken, encoding="utf-8")
    document = yaml.safe_load(UNIT_TESTS.read_text(encoding="utf-8"))
    document["tests"] = [test for test in document["tests"] if "PowerBrake" in test["name"]]
    (tmp_path / UNIT_TESTS.name).write_text(yaml.safe_dump(document), encoding="utf-8")
    assert "PowerdPowerBrake" in promtool("test", "rules", tmp_path / UNIT_TESTS.name)


def test_rules_ask_only_for_metrics_and_labels_that_powerd_has() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert unknown((rule["expr"] for rule in rules()), recorded) == set()


@of_every_alert
def test_every_alert_is_unit_tested_both_ways(unit_tests: list[dict[str, Any]], rule: dict[str, Any]) -> None:
    [about] = [test for test in unit_tests if test["name"].startswith(f"{rule['alert']}")]
    said = [str(check["exp_samples"]) for check in about["promql_expr_test"]]
    fires = [f'alertname="{rule["alert"]}",alertstate="firing"' in each for each in said]
    assert any(fires)
    assert not all(fires)


@of_every_alert
def test_every_alert_says_how_urgent_it_is_what_to_do_and_where_to_read_more(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert re.search(r"powerctl|systemctl|journalctl|powerd (config|check-config)", notes["description"])
    assert notes["runbook_url"] == f"docs/alerts.md#{rule['alert'].lower()}"
    assert f"\n### {rule['alert']}\n" in HANDBOOK.read_text(encoding="utf-8")


@of_every_alert
def test_texts_name_only_labels_that_the_alert_has(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    first = next(iter(selectors(rule["expr"])), None)
    assert named <= ((labels_of(first[0]) or set()) if first else {"job", "instance"})


def test_the_handbook_explains_no_alert_that_is_gone() -> None:
    explained = re.findall(r"^### (Powerd\w+)$", HANDBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert explained == [rule["alert"] for rule in alerts()]
