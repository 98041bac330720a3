"""What each GPU gets of its host's watts, and which limits to write."""
