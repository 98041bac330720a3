"""The arithmetic of a hall of 10,000 hosts, for docs/brokers.md: what brokers have to carry."""

from typing import Final, NamedTuple

RACK_HOSTS: Final = 18
HALL_RACKS: Final = 556
ROW_RACKS: Final = 28
# docs/signals.md, Host state: the larger of both ends, and telemetry.
STATE_KB, TELEMETRY_KB = 2.4, 0.6
SUMMARY_EVERY_S, BUDGET_EVERY_S = 5, 20


class Load(NamedTuple):
    """What one broker carries, a second.

    Attributes:
        connections: of hosts and bridges.
        sent: states and telemetry that hosts publish, in messages and MB.
        states: delivered to the hosts of the same rack, the sender too.
        telemetry: delivered to one database.
        summaries: of racks, that come in.
        budgets: that come in, and that go out.
        kept: retained messages.
    """

    connections: int
    sent: tuple[int, float]
    states: tuple[int, float]
    telemetry: tuple[int, float]
    summaries: float
    budgets: tuple[float, float]
    kept: int


def of_hosts(racks: int) -> Load:
    """Return what the broker carries that the hosts of so many racks are connected to."""
    hosts = racks * RACK_HOSTS
    budgets = racks / BUDGET_EVERY_S
    return Load(
        connections=hosts,
        sent=(2 * hosts, hosts * (STATE_KB + TELEMETRY_KB) / 1000),
        states=(hosts * RACK_HOSTS, hosts * RACK_HOSTS * STATE_KB / 1000),
        telemetry=(hosts, hosts * TELEMETRY_KB / 1000),
        summaries=racks / SUMMARY_EVERY_S,
        budgets=(budgets, budgets * RACK_HOSTS),
        # Budget and summary of each rack, state and online of each host.
        kept=2 * racks + 2 * hosts,
    )


def of_rows(racks: int) -> Load:
    """Return what the broker carries that is above the rows of so many racks."""
    budgets = racks / BUDGET_EVERY_S
    return Load(
        connections=-(-racks // ROW_RACKS),
        sent=(0, 0.0),
        states=(0, 0.0),
        telemetry=(0, 0.0),
        summaries=racks / SUMMARY_EVERY_S,
        # Each budget goes to the one row that its rack stands in.
        budgets=(budgets, budgets),
        kept=2 * racks + racks * RACK_HOSTS,
    )


def table() -> list[str]:
    """Return the lines of the table in docs/brokers.md."""
    loads = (of_hosts(ROW_RACKS), of_rows(HALL_RACKS), of_hosts(HALL_RACKS))
    rows = {
        "hosts or bridges connected": [f"{load.connections:,}" for load in loads],
        "states and telemetry that come in": [_flow(*load.sent) for load in loads],
        "states that go out, each to the 18 of its rack": [_flow(*load.states) for load in loads],
        "telemetry to one database": [_flow(*load.telemetry) for load in loads],
        "summaries that come in": [f"{load.summaries:,.1f}/s" for load in loads],
        "budgets in, and out": [f"{came:,.1f}/s, {went:,.1f}/s" for came, went in (x.budgets for x in loads)],
        "retained messages": [f"{load.kept:,}" for load in loads],
    }
    return [f"| {what} | " + " | ".join(cells) + " |" for what, cells in rows.items()]


def _flow(messages: int, megabytes: float) -> str:
    return f"{messages:,}/s, {megabytes:,.1f} MB/s" if messages else "-"
