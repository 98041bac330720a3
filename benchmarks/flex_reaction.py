"""How fast a signed DSX Flex load target is obeyed: signature, schedule, plan, cuts, read-back."""

import tempfile
from pathlib import Path

from joserfc.jwk import ECKey

from benchmarks.reaction import Cut, measure_event_reaction
from benchmarks.table import Table
from powerd.clock import SystemClock
from powerd.dsx.target_publisher import FlexTarget, FlexTargetPublisher
from powerd.signatures.jws import Signer
from tests.daemon.host import Tables

_ISV, _KID, _FEED = "acme", "acme-1", "main-a"


def measure_flex_reaction(cuts: int) -> Table:
    """Publish `cuts` lower targets signed with ES256, and time each until its last cut is read back."""
    with tempfile.TemporaryDirectory(prefix="powerd-keys-") as directory:
        private, public = Path(directory, "acme.key"), Path(directory, "acme.pem")
        key = ECKey.generate_key("P-256")
        private.touch(0o600)
        private.write_bytes(key.as_pem(private=True))
        public.write_bytes(key.as_pem(private=False))
        publisher = FlexTargetPublisher(isv=_ISV, clock=SystemClock(), signer=Signer(_KID, str(private)))

        def make_cut(_number: int, watts: float) -> Cut:
            message = publisher.message(FlexTarget(watts, (_FEED,)))
            return Cut(message.topic, message.payload)

        trusted = {_KID: {"file": str(public), "source": f"//grid/v1/isv/{_ISV}"}}
        tables: Tables = {
            "rack": {"feeds": {_FEED: 1.0}},
            "signals": {"dsx": {"enabled": True, "keys": trusted}},
        }
        return measure_event_reaction(cuts, make_cut, "signed load target", tables)
