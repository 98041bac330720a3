"""`powerctl`: the operator's hand, command by command."""
