"""The official OpenAPI document of OpenADR 3.1.0 as a judge of requests and responses."""

import functools
import re
from pathlib import Path
from typing import Any

import yaml
from openapi_schema_validator import OAS30Validator

DATA = Path(__file__).parent / "data"
# "ven" and "resource" contradict themselves in the document, see data/README.md.
_TYPES_OF_RESPONSES = {"BlVenRequest": "VEN", "BlResourceRequest": "RESOURCE"}


class ContractError(AssertionError):
    """A message is not as the document demands."""


@functools.cache
def document() -> dict[str, Any]:
    """Return the document, with what cannot be satisfied put right."""
    text = (DATA / "openadr3-3.1.0.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    for name, kind in _TYPES_OF_RESPONSES.items():
        found["components"]["schemas"][name]["properties"]["objectType"]["enum"].append(kind)
    del found["components"]["schemas"]["notification"]["properties"]["object"]["discriminator"]
    return found


@functools.cache
def payload_types() -> tuple[str, ...]:
    """Return all payload types that events may have."""
    text = (DATA / "event-interval-payloads.schema.yaml").read_text(encoding="utf-8")
    return tuple(yaml.safe_load(text)["definitions"])


def check(name: str, content: object) -> None:
    """Check an object against a component of the document, such as "event"."""
    _validate({"$ref": f"#/components/schemas/{name}"}, content, name)


def check_request(method: str, path: str, query: dict[str, str], content: object) -> None:
    """Check what a client sends."""
    operation = _operation(method, path)
    known = {each["name"]: each for each in operation.get("parameters", ()) if each["in"] == "query"}
    for name, value in query.items():
        if name not in known:
            raise ContractError(f"{method} {path}: unknown parameter {name}")
        schema = known[name]["schema"]
        _validate(schema, int(value) if schema.get("type") == "integer" else value, f"{path}?{name}")
    if "requestBody" in operation:
        _validate(_schema(operation["requestBody"]), content, f"{method} {path}")


def check_response(method: str, path: str, status: int, content: object) -> None:
    """Check what the server answers."""
    responses = _operation(method, path)["responses"]
    if str(status) not in responses:
        raise ContractError(f"{method} {path} must not answer {status}")
    _validate(_schema(_resolved(responses[str(status)])), content, f"{method} {path} {status}")


def _operation(method: str, path: str) -> dict[str, Any]:
    for template, operations in document()["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", "[A-Za-z0-9_-]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in operations:
            operation: dict[str, Any] = operations[method.lower()]
            return operation
    raise ContractError(f"the API has no {method} {path}")


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    found: Any = document()
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    resolved: dict[str, Any] = found
    return resolved


def _schema(node: dict[str, Any]) -> dict[str, Any]:
    [content] = node["content"].values()
    schema: dict[str, Any] = content["schema"]
    return schema


def _validate(schema: dict[str, Any], content: object, where: str) -> None:
    whole = {**schema, "components": document()["components"]}
    validator = OAS30Validator(whole, format_checker=OAS30Validator.FORMAT_CHECKER)
    for error in validator.iter_errors(content):
        raise ContractError(f"{where}: {error.json_path}: {error.message}")
