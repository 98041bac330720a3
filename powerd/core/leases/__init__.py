"""What the hosts of a rack say to each other, and the watts they lend."""
