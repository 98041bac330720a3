"""OpenAPI 3.1 from the same types that the answers are made of, so that the two cannot differ."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from powerd import __version__
from powerd.web.models import ErrorDocument

_JSON = ("application/json",)
_REF = "#/components/schemas/{model}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path answers with one status code: a document, or plain content of a media type."""

    description: str
    model: type[BaseModel] | None = None
    media_types: tuple[str, ...] = _JSON


@dataclass(frozen=True, slots=True)
class Operation:
    """One path of the interface, as it is documented: a GET, or a POST where it takes a body.

    Attributes:
        body: documents that may be posted, one of them.
        errors: by status code, what brings that error about.
        query: name and description of each query parameter that is required.
        optional: the schema of each one that may be left out, with its description.
        answers: by status code; every path can also answer with an error.
        parameters: name and description of each part of the path in braces; may hold slashes.
    """

    path: str
    summary: str
    answers: Mapping[int, Answer]
    query: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    optional: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    body: tuple[type[BaseModel], ...] = ()
    errors: Mapping[int, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """Return how it is asked for."""
        return "POST" if self.body else "GET"

    @property
    def route(self) -> str:
        """Return the path as the router reads it."""
        route = self.path
        for name in self.parameters:
            route = route.replace(f"{{{name}}}", f"{{{name}:.+}}")
        return route


_ERROR = Answer("An error, in one line", ErrorDocument)


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the OpenAPI document of these operations."""
    operations = tuple(operations)
    models = {a.model for operation in operations for a in operation.answers.values() if a.model is not None}
    bodies = {model for operation in operations for model in operation.body}
    ordered = sorted(models | bodies | {ErrorDocument}, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "validation" if model in bodies else "serialization") for model in ordered],
        ref_template=_REF,
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "powerd",
            "version": __version__,
            "summary": "What a host's GPUs may draw, and why. Watts and seconds; null is unknown.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {each.path: {each.method.lower(): _operation(each)} for each in operations},
        "components": {"schemas": schemas["$defs"]},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    name = re.sub(r"\W+", "_", operation.path).strip("_") or "page"
    answers = {str(status): _answer(answer) for status, answer in operation.answers.items()}
    errors = {str(status): _answer(Answer(text, ErrorDocument)) for status, text in operation.errors.items()}
    return {
        "operationId": name,
        **(_body(operation.body) if operation.body else {}),
        "summary": operation.summary,
        "parameters": [
            *(_parameter("path", name, text) for name, text in operation.parameters.items()),
            *(_parameter("query", name, text) for name, text in operation.query.items()),
            *({"name": name, "in": "query", "schema": schema} for name, schema in operation.optional.items()),
        ],
        "responses": {
            **answers,
            **errors,
            "default": _answer(Answer("An error, in one line", ErrorDocument)),
        },
    }


def _body(models: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    """Describe an order: what changes something is nothing for a network."""
    schemas = [{"$ref": _REF.format(model=model.__name__)} for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {
        "description": "On the Unix socket only; over TCP the answer is 405.",
        "x-unix-socket-only": True,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
    }


def _parameter(place: str, name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": True, "description": text, "schema": {"type": "string"}}


def _answer(answer: Answer) -> dict[str, Any]:
    model = answer.model
    if model is not None:
        schema = {"$ref": _REF.format(model=model.__name__)}
    else:
        schema = {"type": "object" if answer.media_types == _JSON else "string"}
    return {
        "description": answer.description,
        "content": {media_type: {"schema": schema} for media_type in answer.media_types},
    }
