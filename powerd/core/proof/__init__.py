"""What is written down of an event, and the report that is made of it."""
