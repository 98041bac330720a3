"""`powerctl doctor`: what is not as it should be on this host, and how to mend it."""
