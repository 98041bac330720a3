"""Grid events: which count, whose turn it is, and what each asks of the rack."""
