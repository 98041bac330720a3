"""The fault matrix: every fault that powerd is known to meet, injected for real, and the table of them."""
