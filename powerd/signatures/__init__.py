"""Who said it: signatures of what a facility or a grid sends, and the rack's own secret."""
