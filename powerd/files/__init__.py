"""Files that outlive the daemon: each replaced as a whole, damaged ones never a reason not to start."""
