"""One function for each parser that takes bytes from outside; AssertionError where its oracle is violated."""
