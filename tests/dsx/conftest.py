"""Properties are searched the same way in every run, so that a failure is a change and not chance."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
