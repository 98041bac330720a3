"""Simulated GPUs: physics, load, and the demo rack."""
