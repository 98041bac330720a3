"""Faults of the host itself: GPUs, driver, processes, memory, disk."""

from tests.faults.fault import Fault

ROWS: tuple[Fault, ...] = ()
