"""Simulated GPUs: physics and load, from measured curves and traces."""
