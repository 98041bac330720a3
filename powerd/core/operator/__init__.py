"""What operators ask of the core."""
