"""Metrics for Prometheus: one table, what each row reads, and how it is served and documented."""
