"""A real host under powerctl's hand."""

from collections.abc import Iterator

import pytest

from tests.daemon.rig import Rig


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Return a running host of four GPUs under a budget of 2000 W for five minutes."""
    with Rig(tmp_path_factory.mktemp("h"), gpus=4) as rig:
        rig.start()
        rig.publish_budget(2000, lease_s=300)
        rig.wait_for(lambda: rig.status()["state"] == "limited", what="the budget to be heard")
        yield rig
