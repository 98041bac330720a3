"""What the rack draws, and how much of that could go."""
