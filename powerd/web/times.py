"""Moments as people and machines read them."""

from datetime import UTC, datetime


def rfc3339(wall_s: float) -> str:
    """Format Unix seconds in UTC, with milliseconds."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
