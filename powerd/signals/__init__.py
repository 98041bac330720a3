"""What facilities and grids send, and what this host answers, over MQTT."""
