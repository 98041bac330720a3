"""The interface document describes what the endpoint really answers."""

import json
from typing import Any

import jsonschema
import pytest

from powerd.snapshot import Snapshot
from powerd.web import history_routes, openapi, order_routes, routes, views

READS = (
    routes.PAGE,
    routes.HEALTH,
    routes.READINESS,
    routes.STATUS,
    routes.EXPLAIN,
    history_routes.HISTORY,
    routes.OPENAPI,
)
OPERATIONS = (*READS, *order_routes.ORDERS)


@pytest.fixture
def document() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(openapi.document(OPERATIONS)))
    return made


def references(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(references(value) for value in node))
    return set()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return every operation by its path."""
    return {path: operation for path, methods in document["paths"].items() for operation in methods.values()}


def test_it_is_openapi_3_1_with_one_operation_for_each_path(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    methods = {path: list(found) for path, found in document["paths"].items()}
    assert methods == {each.path: ["get"] for each in READS} | {
        each.path: ["post"] for each in order_routes.ORDERS
    }
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(names)) == len(names)


def test_every_answer_and_error_is_described(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        responses = operation["responses"]
        assert "200" in responses
        assert "default" in responses
        assert all(response["description"] and response["content"] for response in responses.values())


def test_every_order_says_what_it_takes_what_refuses_it_and_where_it_is_taken(
    document: dict[str, Any],
) -> None:
    for order in order_routes.ORDERS:
        operation = operations(document)[order.path]
        assert operation["x-unix-socket-only"] is True
        assert operation["requestBody"]["required"] is True
        assert list(operation["requestBody"]["content"]) == ["application/json"]
        assert {"400", "409", "413", "415", "503"} <= operation["responses"].keys()


def test_what_may_be_left_out_is_not_required(document: dict[str, Any]) -> None:
    (since,) = operations(document)["/v1/history"]["parameters"]
    (gpu,) = operations(document)["/v1/explain"]["parameters"]
    assert (since["name"], since.get("required", False)) == ("since", False)
    assert (gpu["name"], gpu["required"]) == ("gpu", True)


def test_every_reference_leads_to_a_valid_schema(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    targets = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert targets <= set(schemas)
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_field_of_every_document_is_described(document: dict[str, Any]) -> None:
    fields = {
        f"{name}.{field}": schema
        for name, body in document["components"]["schemas"].items()
        for field, schema in body["properties"].items()
    }
    assert [name for name, schema in fields.items() if not schema.get("description")] == []


@pytest.mark.parametrize("name", ["Status", "Explanation"])
def test_real_documents_validate_against_it(
    document: dict[str, Any], snapshot: Snapshot, failsafe: Snapshot, name: str
) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    validator = jsonschema.Draft202012Validator(schema)
    for shown in (snapshot, failsafe):
        made = (
            views.status(shown, shown.now) if name == "Status" else views.explain(shown, "6", shown.now)
        ).model_dump(mode="json")
        validator.validate(made)
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**made, "invented": 1})
