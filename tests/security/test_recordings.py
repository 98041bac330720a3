"""Whoever has recorded what hosts said cannot use it: theorems A and B hold while he says it again."""

from collections import Counter
from dataclasses import replace

from tests.cluster.faults import Adversary
from tests.cluster.rack import SimulatedRack, rack_of, run
from tests.cluster.scenario import even, scenario
from tests.security.recorder import Recorder

SEEDS = range(1000, 1003)
REPLAYS = 2_000


def with_a_recorder(rack: SimulatedRack, adversary: Adversary) -> None:
    Recorder(rack, adversary)


def test_no_recording_takes_a_rack_above_its_bound() -> None:
    """Hosts crash, lose their memory, are reloaded and cut off meanwhile, as on every hostile day."""
    faults: Counter[str] = Counter()
    for seed in SEEDS:
        result = run(scenario(seed), script=with_a_recorder)
        assert not result.violation, str(result)
        faults += result.faults
    assert sum(count for kind, count in faults.items() if kind.startswith("state replayed")) >= REPLAYS


def test_a_roster_that_comes_back_does_not_bring_back_what_was_said_under_it() -> None:
    """The other host has more now. What it said while shares were equal must not count again."""
    day = even(2, 2, budget_w=2400)
    first_roster = day.rack
    hosts = (first_roster.hosts[0], first_roster.hosts[1]._replace(share=3.0))
    second_roster = replace(first_roster, hosts=hosts)
    with rack_of(day) as rack:
        one, other = rack.hosts
        recorded: list[bytes] = []
        recorder = rack.broker.client("recorder")
        recorder.deliver = lambda topic, payload, _: recorded.append(payload) if topic == other.name else None
        recorder.connect()
        rack.start()
        rack.world.run_until(20.0)
        recording = recorded[10]
        one.reload(replace(one.config, rack=second_roster))
        other.reload(replace(other.config, rack=second_roster))
        rack.world.run_until(60.0)
        assert [host.watch.applied_mw for host in rack.hosts] == [800_000, 1_600_000]
        one.kill_daemon()
        one.configure(replace(one.config, rack=first_roster))
        # Until the other host speaks again, the recording is the newest that there is of it.
        rack.broker.retained[other.name] = recording
        one.start_daemon()
        rack.world.run_until(120.0)
        assert [host.watch.applied_mw for host in rack.hosts] == [800_000, 1_600_000]
