"""`make bench`: every benchmark as a table, then all of them as one JSON object."""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.allocator import measure_allocator, measure_decision
from benchmarks.cluster import SEEDS, measure_efficiency, measure_hostile, measure_hour
from benchmarks.cluster import measure_waking as measure_virtual_waking
from benchmarks.endurance import measure_day_of_messages, measure_memory, measure_month
from benchmarks.events import measure_events
from benchmarks.explorer import measure_explorer
from benchmarks.fan_in import measure_fan_in
from benchmarks.flex_reaction import measure_flex_reaction
from benchmarks.flood import measure_flood
from benchmarks.footprint import measure_footprint
from benchmarks.grid_events import measure_grid_events
from benchmarks.http import measure_http
from benchmarks.ledger import measure_ledger
from benchmarks.parser import measure_parser
from benchmarks.peers import measure_peers
from benchmarks.rack import measure_cuts, measure_kills, measure_messages, measure_waking
from benchmarks.reaction import measure_event_reaction, measure_reaction
from benchmarks.recovery import measure_recovery
from benchmarks.study import measure_arrivals, measure_bad_days, measure_day, measure_speed, measure_study
from benchmarks.table import Table
from tests.cluster.grid_day import run_with_events

SLOW_SET_MS = 15.0
EVENT_SEEDS = 100
FAN_IN_CUTS = 20


def main() -> int:
    """Run what is asked for; exit 1 if a figure is above its bound."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these; default: all")
    parser.add_argument("--cuts", type=int, default=512, help="cuts per reaction benchmark (default 512)")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the footprint benchmarks")
    parser.add_argument("--iterations", type=int, default=2000, help="of the ledger's (default 2000)")
    parser.add_argument("--wakings", type=int, default=40, help="wakings of hosts (default 40)")
    parser.add_argument("--rack-cuts", type=int, default=216, help="cuts of a rack (default 216)")
    parser.add_argument("--kills", type=int, default=200, help="processes killed (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="of the kills (default 1)")
    parser.add_argument("--rounds", type=int, default=5, help="of each kind of fault (default 5)")
    parser.add_argument("--kind", default="", help="only kinds of faults that contain this")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"hostile days of racks (default {SEEDS})")
    parser.add_argument("--event-seeds", type=int, default=EVENT_SEEDS, help="the same with grid events")
    parser.add_argument("--turns", type=int, default=12, help="of the HTTP benchmark's crowds (default 12)")
    parser.add_argument("--hours", type=float, default=0.5, help="of the study's runs (default 0.5)")
    parser.add_argument("--flood-cuts", type=int, default=200, help="cuts under each flood (default 200)")
    parser.add_argument("--minutes", type=float, default=30.0, help="of watching memory (default 30)")
    parser.add_argument("--days", type=int, default=30, help="of a rack in virtual time (default 30)")
    parser.add_argument("--full", action="store_true", help="all racks and sizes of the study, for a day")
    parser.add_argument(
        "--plot", type=Path, default=Path("build/study-day.png"), help="draw a day of the study here"
    )
    parser.add_argument("--json", type=Path, help="write the JSON here too")
    options = parser.parse_args()
    available: dict[str, Callable[[], Table]] = {
        "allocator": measure_allocator,
        "decision": measure_decision,
        "events": measure_events,
        "parser": measure_parser,
        "explorer": measure_explorer,
        "fan-in": partial(measure_fan_in, options.seconds, FAN_IN_CUTS),
        "flood": partial(measure_flood, options.flood_cuts),
        "footprint": partial(measure_footprint, options.seconds),
        "http": partial(measure_http, options.turns),
        "peers": partial(measure_peers, options.seconds),
        "reaction": partial(measure_reaction, options.cuts),
        "event-reaction": partial(measure_event_reaction, options.cuts),
        "flex-reaction": partial(measure_flex_reaction, options.cuts),
        "slow-driver": partial(measure_reaction, options.cuts, SLOW_SET_MS),
        "ledger": partial(measure_ledger, options.iterations),
        "cluster": partial(measure_hostile, options.seeds),
        "cluster-events": partial(
            measure_hostile,
            options.event_seeds,
            run_with_events,
            "Hostile days with grid events",
            EVENT_SEEDS,
        ),
        "cluster-waking": partial(measure_virtual_waking, options.wakings),
        "cluster-sharing": measure_efficiency,
        "cluster-hour": partial(measure_hour, 600.0),
        "grid-events": measure_grid_events,
        "rack-waking": partial(measure_waking, options.wakings),
        "rack-cuts": partial(measure_cuts, options.rack_cuts),
        "rack-messages": measure_messages,
        "study": partial(measure_study, options.hours, full=options.full),
        "study-arrivals": measure_arrivals,
        "study-bad-days": measure_bad_days,
        "study-day": partial(measure_day, options.plot),
        "study-speed": measure_speed,
        "day-of-messages": measure_day_of_messages,
        "memory": partial(measure_memory, options.minutes),
        "thirty-days": partial(measure_month, options.days),
        "kills": partial(measure_kills, options.kills, options.seed),
        "recovery": partial(measure_recovery, options.rounds, options.kind),
    }
    unknown = set(options.names) - available.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(available)}")
    tables = {}
    for name, measure in available.items():
        if not options.names or name in options.names:
            tables[name] = measure()
            print(tables[name].render(), flush=True)
    text = json.dumps({name: table.as_dict() for name, table in tables.items()}, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0 if all(figure.holds for table in tables.values() for figure in table.figures) else 1


if __name__ == "__main__":
    sys.exit(main())
