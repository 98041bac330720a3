"""Fixtures of the tests with brokers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.authority import Authority, authority
from tests.brokers.kinds import Kind
from tests.brokers.site import Hosts, Site
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try the claims of a file with each of the brokers that it names."""
    if kinds := getattr(metafunc.module, "KINDS", ()):
        metafunc.parametrize("site", kinds, indirect=True, scope="module")


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, hosts: Hosts, ours: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Return a site whose broker is of one of these kinds."""
    make: Callable[[Path, Authority], Kind] = request.param
    kind = make(tmp_path_factory.mktemp("b") / "broker", ours)
    kind.server.start()
    with Site(hosts, kind) as site:
        yield site
