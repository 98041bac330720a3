"""What the whole rack may draw, and this host of it: budgets, failsafe, ramps."""
