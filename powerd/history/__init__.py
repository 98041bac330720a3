"""The last day: numbers in rings, and what has happened."""
