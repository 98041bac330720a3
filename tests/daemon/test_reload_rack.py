"""A roster that is changed while the rack runs, host by host: the rack keeps its budget at every instant."""

import signal
from functools import partial
from pathlib import Path

from tests.daemon.host import Host, roster
from tests.daemon.rack import BUDGET_WATTS, GPUS, NAMES, Rack, entitlement_mw
from tests.daemon.rack_observer import violations
from tests.daemon.waiting import boot_s

N1, *OTHERS = NAMES
EQUAL_MW = entitlement_mw(BUDGET_WATTS)
# Of 2256 W above the floors, 1200 W each: one half, and a sixth for each of the others.
LARGER_MW, SMALLER_MW = 2_328_000, 1_576_000


def reload(rack: Rack, host: Host, hosts: dict[str, dict[str, float]]) -> None:
    """Have one host go by another roster."""
    before = host.daemon.log.count("config_reloaded")
    rack.configure(host, {"rack": {"hosts": hosts}})
    host.daemon.signal(signal.SIGHUP)
    host.wait_for(lambda: host.daemon.log.count("config_reloaded") > before, what="the reload")
    host.wait_iterations(2)


def is_told_of(host: Host) -> bool:
    return bool(host.problem("roster_mismatch"))


def test_a_larger_share_is_taken_once_all_hosts_have_let_it_go(library: Path, tmp_path: Path) -> None:
    hosts = roster(NAMES, GPUS)
    hosts[N1]["share"] = 3.0
    with Rack(tmp_path, library) as rack:
        rack.calm()
        begun_boot_s = boot_s()
        rack.busy(*NAMES)
        rack.wait_for(lambda: all(rack.is_at(name, EQUAL_MW) for name in NAMES), what="equal shares")

        reload(rack, rack.hosts[N1], hosts)
        rack.wait_for(lambda: all(is_told_of(rack.hosts[name]) for name in NAMES), what="the difference told")
        assert rack.worst_mw(N1) <= EQUAL_MW

        *first, last = OTHERS
        for name in first:
            reload(rack, rack.hosts[name], hosts)
            rack.wait_for(partial(rack.is_at, name, SMALLER_MW), what=f"the smaller share of {name}")
            assert rack.worst_mw(N1) <= EQUAL_MW

        reload(rack, rack.hosts[last], hosts)
        rack.wait_for(lambda: rack.is_at(N1, LARGER_MW), what="the larger share, once nobody uses it")
        rack.wait_for(lambda: all(rack.is_at(name, SMALLER_MW) for name in OTHERS), what="the smaller shares")

        rack.idle(*OTHERS)
        rack.wait_for(lambda: rack.worst_mw(N1) > LARGER_MW + 50_000, what="leases made again")
        assert list(violations(rack, begun_boot_s)) == []
