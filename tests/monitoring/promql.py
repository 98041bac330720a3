"""What expressions of rules and dashboard rest on, looked up in the table of metrics."""

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from powerd.metrics.table import TABLE, Kind

ROOT = Path(__file__).parents[2]
RULES = ROOT / "packaging/prometheus/powerd.rules.yml"
DASHBOARD = ROOT / "packaging/grafana/powerd.json"

_ROWS = {row.name: row for row in TABLE}
_SUFFIX = re.compile("_(bucket|sum|count)$")
# What every series of a target has, and what the two that Prometheus makes itself have.
_OF_TARGETS = {"job", "instance", "rack", "host"}
_SELECTOR = re.compile(r"([a-z_:]*powerd_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield every metric of ours in an expression, with the labels that are asked for."""
    for name, matchers in _SELECTOR.findall(expression):
        yield name, set(_MATCHER.findall(matchers))


def labels_of(name: str) -> set[str] | None:
    """Return the labels of a metric's series; None if powerd has no such metric."""
    row = _ROWS.get(name)
    if row is None:
        row = _ROWS.get(_SUFFIX.sub("", name))
        if row is None or row.kind is not Kind.HISTOGRAM:
            return None
        return {*row.labels, *_OF_TARGETS, "le"}
    return {*row.labels, *_OF_TARGETS}


def unknown(expressions: Iterable[str], recorded: Iterable[str] = ()) -> set[str]:
    """Return the metrics, and labels of metrics, that expressions ask for and powerd does not have."""
    found = set()
    for expression in expressions:
        for name, labels in selectors(expression):
            known = set() if name in recorded else labels_of(name)
            if known is None:
                found.add(name)
            elif labels - known:
                found |= {f"{name}{{{label}}}" for label in labels - known}
    return found


def rules() -> list[dict[str, Any]]:
    """Return all rules of the file, in order."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Return the rules that alert."""
    return [rule for rule in rules() if "alert" in rule]


def promtool(*arguments: str | Path) -> str:
    """Run promtool; return what it complains about, "" if about nothing."""
    ran = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr
