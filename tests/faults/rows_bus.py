"""Faults of whatever reaches a host from outside: broker, network, senders, clocks, meters, other hosts."""

from tests.faults.fault import Fault

ROWS: tuple[Fault, ...] = ()
