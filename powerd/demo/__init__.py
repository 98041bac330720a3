"""A whole rack on one machine: real hosts, a broker, a facility; only the GPUs are simulated."""
