"""`powerd simulate`: the real core and published policies on measured curves and traces, in virtual time."""
