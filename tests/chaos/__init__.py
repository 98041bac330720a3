"""A rack of real processes under faults that overlap, judged from outside: `python -m tests.chaos`."""
