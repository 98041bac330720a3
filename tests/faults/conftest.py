"""The fixtures of the tests with real processes are those of `tests/daemon`."""

from tests.daemon.conftest import host, library, make_rig, rig

__all__ = ["host", "library", "make_rig", "rig"]
