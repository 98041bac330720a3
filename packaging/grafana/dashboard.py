"""Print the Grafana dashboard of powerd, which `make generated` writes into `powerd.json`.

Panels are listed below as they are seen, row by row; every expression is plain PromQL on what powerd exposes.
"""  # noqa: INP001 -- a script beside what it prints

import json
from collections.abc import Iterator, Sequence
from typing import Any

Panel = dict[str, Any]
# An expression, and what its series are called in the legend.
Query = tuple[str, str]

# Grafana 11; newer ones take it in and convert it.
SCHEMA_VERSION = 39
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

GOOD, FAIR, BAD, PLAIN = "green", "orange", "red", "text"
PHASES = {1: ("init", FAIR), 2: ("limited", GOOD), 3: ("unlimited", "blue"), 4: ("failsafe", BAD)}
STATES = {1: ("ok", GOOD), 2: ("hung", BAD), 3: ("lost", BAD)}
YES_NO = {0: ("no", BAD), 1: ("yes", GOOD)}

RACKS = 'rack=~"$rack"'
HOST = 'rack=~"$rack", host="$host"'


def panel(kind: str, title: str, queries: Sequence[Query], about: str = "", **defaults: object) -> Panel:
    """Return a panel of queries over time; `defaults` are of its fields."""
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for n, (expr, legend) in enumerate(queries)
        ],
    }


def graph(title: str, unit: str, *queries: Query, about: str = "") -> Panel:
    """Return lines over time, from 0."""
    lines = {"lineWidth": 1, "fillOpacity": 0, "showPoints": "never", "spanNulls": False}
    made = panel("timeseries", title, queries, about, unit=unit, min=0, custom=lines)
    made["options"] = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return made


def dashed(made: Panel, pattern: str) -> Panel:
    """Draw the series whose names match as broken lines: what is allowed, not what is."""
    style = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}}
    made["fieldConfig"]["overrides"].append(
        {"matcher": {"id": "byRegexp", "options": pattern}, "properties": [style]}
    )
    return made


def number(title: str, unit: str, expr: str, bad_from: float | None = None, about: str = "") -> Panel:
    """Return one number of now, red from `bad_from` on."""
    steps: list[dict[str, Any]] = [{"color": PLAIN if bad_from is None else GOOD, "value": None}]
    if bad_from is not None:
        steps.append({"color": BAD, "value": bad_from})
    made = panel(
        "stat", title, [(expr, "")], about, unit=unit, thresholds={"mode": "absolute", "steps": steps}
    )
    made["options"] = {"colorMode": "value", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return made


def verdict(title: str, expr: str, about: str = "") -> Panel:
    """Return yes or no, as of now."""
    made = number(title, "none", expr, about=about)
    made["fieldConfig"]["defaults"]["mappings"] = mappings(YES_NO)
    return made


def states(title: str, expr: str, legend: str, names: dict[int, tuple[str, str]]) -> Panel:
    """Return bars over time that are coloured by a number's meaning."""
    made = panel("state-timeline", title, [(expr, legend)], mappings=mappings(names))
    made["options"] = {"mergeValues": True, "showValue": "auto", "rowHeight": 0.8}
    return made


def mappings(names: dict[int, tuple[str, str]]) -> list[dict[str, Any]]:
    """Return what the numbers are shown as."""
    options = {str(n): {"text": text, "color": colour, "index": n} for n, (text, colour) in names.items()}
    return [{"type": "value", "options": options}]


def heatmap(title: str, expr: str, about: str) -> Panel:
    """Return how often a histogram's buckets were hit."""
    made = panel("heatmap", title, [(expr, "{{le}}")], about)
    made["targets"][0]["format"] = "heatmap"
    made["options"] = {
        "calculate": False,
        "cellGap": 1,
        "yAxis": {"unit": "s"},
        "color": {"scheme": "Oranges"},
    }
    return made


def table(title: str, unit: str, columns: Sequence[Query], key: str, about: str = "") -> Panel:
    """Return one line for each value of the label `key`, one column for each query."""
    made = panel("table", title, columns, about, unit=unit)
    for target in made["targets"]:
        target.update({"format": "table", "instant": True, "range": False})
    several = len(columns) > 1
    renamed = {f"Value #{t['refId']}" if several else "Value": t["legendFormat"] for t in made["targets"]}
    made["transformations"] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": renamed}},
    ]
    made["options"] = {"showHeader": True, "sortBy": [{"displayName": key, "desc": False}]}
    return made


def numbered(metric: str, label: str, names: dict[int, tuple[str, str]], where: str, by: str) -> str:
    """Return PromQL that gives the number of the one series, by its label, that is 1."""
    each = (f'{metric}{{{where}, {label}="{name}"}} * {number}' for number, (name, _) in names.items())
    return f"sum by ({by}) ({' or '.join(each)})"


def rack_rows() -> Iterator[tuple[int, list[Panel]]]:
    """Yield height and panels of each row about whole racks."""
    yield (
        4,
        [
            number("Hosts", "none", f"count(powerd_build_info{{{RACKS}}})"),
            number(
                "Hosts in failsafe", "none", f"count(powerd_failsafe_active{{{RACKS}}} == 1) or vector(0)", 1
            ),
            number("Least time left of a lease", "s", f"min(powerd_lease_remaining_seconds{{{RACKS}}})"),
            number("Infeasible", "watt", f"sum(powerd_infeasible_watts{{{RACKS}}})", 1),
            number(
                "Critical problems",
                "none",
                f'sum(powerd_problems{{{RACKS}, severity="critical"}}) or vector(0)',
                1,
            ),
            number("GPUs hung or lost", "none", f'sum(powerd_gpu_state{{{RACKS}, state=~"hung|lost"}})', 1),
        ],
    )
    budget = graph(
        "Rack: budget and draw",
        "watt",
        (f'min by (rack) (powerd_budget_watts{{{RACKS}, scope="rack"}})', "{{rack}} budget"),
        (f"min by (rack, event) (powerd_event_cap_watts{{{RACKS}}})", "{{rack}} cap of event {{event}}"),
        (f"max by (rack, source) (powerd_rack_power_watts{{{RACKS}}})", "{{rack}} draw by {{source}}"),
        (f"sum by (rack) (powerd_gpu_power_watts{{{RACKS}}})", "{{rack}} draw of GPUs"),
        about="The budget is the lowest that any host of the rack goes by.",
    )
    yield (
        9,
        [
            dashed(budget, ".* (budget|cap of event .*)"),
            graph(
                "Rack: watts that are allocated and not wanted, lent, borrowed",
                "watt",
                (f"sum by (rack, kind) (powerd_headroom_watts{{{RACKS}}})", "{{rack}} {{kind}}"),
            ),
        ],
    )
    shares = [
        (f'sum by (rack, host) (powerd_budget_watts{{{RACKS}, scope="host"}})', "Cap"),
        (f'sum by (rack, host) (powerd_budget_watts{{{RACKS}, scope="gpus"}})', "GPU budget"),
        (f"sum by (rack, host) (powerd_gpu_power_watts{{{RACKS}}})", "GPU draw"),
        (f'sum by (rack, host) (powerd_headroom_watts{{{RACKS}, kind="lent"}})', "Lent"),
        (f'sum by (rack, host) (powerd_headroom_watts{{{RACKS}, kind="borrowed"}})', "Borrowed"),
        (f'sum by (rack, host) (powerd_headroom_watts{{{RACKS}, kind="stranded"}})', "Stranded"),
    ]
    phase = numbered("powerd_phase", "phase", PHASES, RACKS, "rack, host")
    yield 9, [table("Hosts", "watt", shares, "host"), states("Phase of hosts", phase, "{{host}}", PHASES)]


def host_rows() -> Iterator[tuple[int, list[Panel]]]:
    """Yield height and panels of each row about the host that is chosen."""
    yield (
        4,
        [
            verdict("Broker connected", f"powerd_mqtt_connected{{{HOST}}}"),
            verdict("Guard usable", f"powerd_guard_usable{{{HOST}}}"),
            verdict("Clock synchronised", f"powerd_clock_synchronized{{{HOST}}}"),
            verdict("Compliant", f"powerd_compliant{{{HOST}}}", "Every worst case fits the budget."),
            verdict("Enforcing", f'powerd_mode{{{HOST}, mode="enforce"}}'),
            number(
                "Orders in force",
                "none",
                f"sum(powerd_orders{{{HOST}}})",
                about="powerctl status says whose.",
            ),
            number(
                "Last iteration",
                "s",
                f"time() - powerd_control_loop_last_success_timestamp_seconds{{{HOST}}}",
            ),
        ],
    )
    draw = graph(
        "GPUs: draw and limit",
        "watt",
        (f"powerd_gpu_power_watts{{{HOST}}}", "GPU {{gpu}} draw"),
        (f'powerd_gpu_limit_watts{{{HOST}, kind="enforced"}}', "GPU {{gpu}} limit"),
        about="powerctl explain GPU says why a limit is what it is.",
    )
    host = graph(
        "Host: budget, limits, draw",
        "watt",
        (f'powerd_budget_watts{{{HOST}, scope="host"}}', "cap of the host"),
        (f'powerd_budget_watts{{{HOST}, scope="gpus"}}', "budget of the GPUs"),
        (f'sum(powerd_gpu_limit_watts{{{HOST}, kind="enforced"}})', "sum of limits"),
        (f"sum(powerd_gpu_want_watts{{{HOST}}})", "wanted"),
        (f"sum(powerd_gpu_power_watts{{{HOST}}})", "draw of the GPUs"),
        (f"powerd_host_overhead_watts{{{HOST}}}", "overhead"),
    )
    yield 10, [dashed(draw, ".* limit"), dashed(host, "(cap|budget|sum) of .*")]
    capped = f"sum by (gpu, reason) (rate(powerd_gpu_capped_seconds_total{{{HOST}}}[$__rate_interval])) > 0"
    gpu_state = numbered("powerd_gpu_state", "state", STATES, HOST, "gpu")
    yield (
        8,
        [
            graph(
                "GPUs: part of the time that clocks were held down",
                "percentunit",
                (capped, "GPU {{gpu}} {{reason}}"),
            ),
            states("GPUs: state", gpu_state, "GPU {{gpu}}", STATES),
        ],
    )
    leases = graph(
        "Leases with other hosts",
        "watt",
        (f"powerd_lease_watts{{{HOST}}}", "{{direction}} {{peer}}"),
        (f"powerd_compensation_watts{{{HOST}}}", "given up for hosts out of reach"),
    )
    signals = graph(
        "Signals: age, and what is left of the budget's lease",
        "s",
        (f"powerd_signal_age_seconds{{{HOST}}}", "age of {{source}}"),
        (f"powerd_lease_remaining_seconds{{{HOST}}}", "left of the lease"),
    )
    problems = table(
        "Problems",
        "none",
        [(f"sum by (severity, event) (powerd_problems{{{HOST}}})", "Subjects")],
        "severity",
        "As in powerctl status, which names the subjects.",
    )
    yield 8, [leases, signals, problems]
    reactions = heatmap(
        "Reaction: message received to last cut read back",
        f"sum by (le) (increase(powerd_reaction_seconds_bucket{{{HOST}}}[$__rate_interval]))",
        "One count for each message that led to cuts.",
    )
    slow = graph(
        "Iteration and driver calls, slowest 1 %",
        "s",
        (p99("powerd_control_loop_seconds", "le"), "iteration"),
        (p99("powerd_nvml_call_seconds", "call, le"), "driver: {{call}}"),
    )
    writes = graph(
        "Limit writes",
        "cps",
        (f"rate(powerd_limit_writes_total{{{HOST}}}[$__rate_interval])", "{{result}}"),
        (f"rate(powerd_limit_readback_mismatch_total{{{HOST}}}[$__rate_interval])", "read back otherwise"),
        (f"rate(powerd_writer_conflict_total{{{HOST}}}[$__rate_interval])", "changed by something else"),
    )
    yield 8, [reactions, slow, writes]


def p99(histogram: str, by: str) -> str:
    """Return PromQL of what 99 % of the observations are below."""
    return f"histogram_quantile(0.99, sum by ({by}) (rate({histogram}_bucket{{{HOST}}}[$__rate_interval])))"


def placed() -> list[Panel]:
    """Return all panels with their ids and places, under a heading each for racks and for the host."""
    panels: list[Panel] = []
    y = 0
    for title, rows in (("Racks: $rack", rack_rows()), ("Host: $host", host_rows())):
        panels.append(
            {
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": place(0, y, COLUMNS, 1),
            }
        )
        y += 1
        for height, row in rows:
            width = COLUMNS // len(row)
            panels += [made | {"gridPos": place(n * width, y, width, height)} for n, made in enumerate(row)]
            y += height
    return [{"id": n, **made} for n, made in enumerate(panels, 1)]


def place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    """Return a place on the grid of 24 columns."""
    return {"x": x, "y": y, "w": width, "h": height}


def variable(name: str, query: str, *, multi: bool) -> dict[str, Any]:
    """Return a variable that is chosen from the values of a label."""
    return {
        "type": "query",
        "name": name,
        "label": name.capitalize(),
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": multi,
        "includeAll": multi,
        "current": {"text": ["All"], "value": ["$__all"]} if multi else {},
    }


def dashboard() -> dict[str, Any]:
    """Return the document that Grafana imports."""
    source = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}
    alerts = {
        "name": "Alerts of powerd",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Powerd.+", alertstate="firing", host="$host"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}}",
    }
    return {
        "title": "powerd",
        "description": "Racks of GPUs and their power budgets, and one host of them.",
        "tags": ["gpu", "power", "powerd"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [alerts]},
        "templating": {
            "list": [
                {**source, "current": {}, "refresh": 1},
                variable("rack", "label_values(powerd_build_info, rack)", multi=True),
                variable("host", f"label_values(powerd_build_info{{{RACKS}}}, host)", multi=False),
            ]
        },
        "panels": placed(),
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))  # noqa: T201 -- what it is for
