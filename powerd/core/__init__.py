"""The decision core: pure functions over frozen records; integer milliwatts; `now` is an argument."""
