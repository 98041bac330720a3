"""The Grafana dashboard: what Grafana needs of it, and nothing that powerd does not expose."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.promql import DASHBOARD, promtool, unknown

# Of Grafana itself, so that nothing has to be installed.
PANELS = {"row", "stat", "timeseries", "state-timeline", "heatmap", "table"}
COLUMNS = 24
# What Grafana puts in place of its variables.
CHOSEN = {"$__rate_interval": "1m", "$rack": "r17|r18", "$host": "r17-n3"}


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return document


def expressions(dashboard: dict[str, Any]) -> list[str]:
    """Return every expression as Prometheus would get it."""
    targets = (target for panel in dashboard["panels"] for target in panel.get("targets", ()))
    asked = [each["expr"] for each in itertools.chain(targets, dashboard["annotations"]["list"])]
    return [re.sub(r"\$\w+", lambda name: CHOSEN[name[0]], each) for each in asked]


def sources(node: Any) -> Iterator[Any]:
    """Yield every data source that is named anywhere."""
    if isinstance(node, dict):
        yield from (node["datasource"],) if "datasource" in node else ()
        yield from itertools.chain.from_iterable(map(sources, node.values()))
    elif isinstance(node, list):
        yield from itertools.chain.from_iterable(map(sources, node))


def test_the_file_is_what_the_script_prints() -> None:
    script = DASHBOARD.with_name("dashboard.py")
    printed = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert printed == DASHBOARD.read_text(encoding="utf-8"), "run: make generated"


def test_it_asks_only_for_metrics_and_labels_that_powerd_has(dashboard: dict[str, Any]) -> None:
    variables = [
        each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"
    ]
    assert unknown([*expressions(dashboard), *variables]) == set()


def test_prometheus_understands_every_expression(dashboard: dict[str, Any], tmp_path: Path) -> None:
    asked = [{"record": f"panel:{n}", "expr": each} for n, each in enumerate(expressions(dashboard))]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "all", "rules": asked}]}))
    assert len(asked) > 30
    assert promtool("check", "rules", tmp_path / "rules.yml") == ""


def test_it_works_with_any_prometheus_that_is_chosen(dashboard: dict[str, Any]) -> None:
    assert {json.dumps(each, sort_keys=True) for each in sources(dashboard)} == {
        '{"type": "prometheus", "uid": "${datasource}"}'
    }
    variables = {each["name"]: each["type"] for each in dashboard["templating"]["list"]}
    assert variables == {"datasource": "datasource", "rack": "query", "host": "query"}
    assert not {"id", "uid", "version"} & dashboard.keys()


def test_panels_are_of_grafana_itself_and_their_ids_are_unique(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert {panel["type"] for panel in panels} <= PANELS
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        references = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(references)) == len(references)


def test_panels_are_inside_the_grid_and_none_lies_on_another(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in dashboard["panels"]):
        columns, lines = (range(place[start], place[start] + place[size]) for start, size in ("xw", "yh"))
        cells = set(itertools.product(columns, lines))
        assert cells
        assert columns.stop <= COLUMNS
        assert not cells & taken
        taken |= cells
