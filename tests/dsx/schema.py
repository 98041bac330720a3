"""The schema of DSX Flex, as a judge of messages."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator, FormatChecker

FILE = Path(__file__).parent / "data" / "dsx-flex.yaml"

# jsonschema leaves date-time to a library that is not installed: RFC 3339, section 5.6.
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
FORMATS = FormatChecker()


@FORMATS.checks("date-time")
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or bool(_DATE_TIME.fullmatch(value))


@functools.cache
def validator(name: str) -> Draft7Validator:
    """Return the validator of one of the schema's components."""
    components = yaml.safe_load(FILE.read_text(encoding="utf-8"))["components"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": components}
    return Draft7Validator(schema, format_checker=FORMATS)


def checked(name: str, message: bytes | dict[str, Any]) -> dict[str, Any]:
    """Return a message, or a part of one, that is as the schema wants it.

    Raises:
        jsonschema.ValidationError: it is not.
    """
    parsed: dict[str, Any] = json.loads(message) if isinstance(message, bytes) else message
    validator(name).validate(parsed)
    return parsed


def is_valid(name: str, message: dict[str, Any]) -> bool:
    return validator(name).is_valid(message)
