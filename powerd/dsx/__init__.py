"""DSX Flex: load targets in, power state and breaches out, signed (docs/dsx-flex.md)."""
