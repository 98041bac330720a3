"""MQTT topic filters of the configuration: `+` for any one level, `#` at the end for the rest."""

MAX_BYTES = 65535


def checked_filter(name: str, value: str) -> str:
    """Return `value` if a broker would take it as a filter (MQTT 3.1.1, section 4.7).

    Args:
        name: what the value is, for the error text.

    Raises:
        ValueError: it would not.
    """
    if not value or "\0" in value or len(value.encode()) > MAX_BYTES:
        raise ValueError(f"{name} is empty, too long, or holds a NUL")
    levels = value.split("/")
    wild = {level for level in levels if "+" in level or "#" in level}
    if wild - {"+", "#"} or "#" in levels[:-1]:
        raise ValueError(f'{name} "{value}": + stands for a whole level, and # for all levels at the end')
    return value
