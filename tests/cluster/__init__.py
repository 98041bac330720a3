"""A whole rack of real controllers and guards on a virtual clock, and a network that does its worst."""
