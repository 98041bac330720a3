"""What becomes of an operator's order: how each is carried out, and which of them hold."""
