"""What time and quantity do to powerd: weeks in virtual time, days of messages, floods and storms."""
