"""How often a host decides: once for all that its peers say within a moment."""

import json

from tests.cluster.host import RackHost
from tests.cluster.rack import SimulatedRack, rack_of
from tests.cluster.scenario import even

PEERS_S = (0.0, 0.005, 0.019)


def says_more(rack: SimulatedRack, peer: str, to: RackHost) -> None:
    """Bring a host a newer message of a peer, which is suddenly above what it may draw."""
    state = json.loads(rack.broker.retained[peer])
    newer = json.dumps(state | {"seq": state["seq"] + 1, "over_watts": 100}).encode()
    assert to.client.deliver is not None
    to.client.deliver(peer, newer, False)


def test_what_several_peers_say_within_a_moment_is_decided_on_together_and_once() -> None:
    with rack_of(even(4, 1, 4 * 500)) as rack:
        rack.start()
        rack.world.run_until(30.0)
        host, known = rack.hosts[0], rack.hosts[0].iterations
        while host.iterations == known:  # its next sample is most of a period away then
            rack.world.run_until(rack.world.now_s + 0.05)
        rack.world.run_until(rack.world.now_s + 0.3)
        known = host.iterations
        for peer, delay_s in zip(rack.hosts[1:], PEERS_S, strict=True):
            rack.world.after(delay_s, says_more, rack, peer.name, host)
        rack.world.run_until(rack.world.now_s + 0.1)
        assert host.iterations == known + 1
