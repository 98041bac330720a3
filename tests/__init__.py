"""A package only so that test code can share `tests.fake_nvml`."""
