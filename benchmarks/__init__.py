"""What powerd costs and how fast it reacts, measured on the machine at hand: `make bench`.

Machines differ and are noisy, so figures that can be are also given as ratios to something measured in the
same run.
"""
