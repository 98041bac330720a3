"""Fixtures of the tests with brokers."""

from collections.abc import Iterator

import pytest

from tests.authority import Authority, authority
from tests.brokers.site import Hosts
from tests.fake_nvml import build


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the authority that all brokers and clients of a site trust."""
    return authority(tmp_path_factory.mktemp("a") / "ca")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Return two hosts for all brokers of a file: guards run, daemons are for a site to start."""
    directory = tmp_path_factory.mktemp("h")
    with Hosts(directory, build(directory / "lib")) as hosts:
        yield hosts
