"""Claims about what comes from the bus and goes to it."""
