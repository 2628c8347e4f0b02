"""What the OpenAPI page is told of routes that read their bodies themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from happyhorse.server.forms import Form
from happyhorse.server.views import ErrorBody

EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "examples": ["progress"]},
        "id": {"type": "string", "description": "Its number: 1, 2, 3, ...", "examples": ["3"]},
        "data": {"type": "string", "description": "JSON: id, kind, status, progress, stage, step, steps, time, error."},
    },
}
"""Shape of one server-sent event."""
_REFUSALS = {
    400: "A field is missing, unknown or out of its range.",
    401: "No API key, or one that is not good here.",
    403: "The key may not do this.",
    404: "There is no such video or model.",
    409: "The idempotency key was used before, or the video is not finished.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken.",
    429: "Too many requests, or too many jobs wait; Retry-After says when to ask again.",
    500: "A mistake of the service.",
    503: "The service cannot reach its database.",
}
READING = (400, 401, 403, 404, 429, 500, 503)
SENDING = tuple(_REFUSALS)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers, for the OpenAPI page."""
    return {
        status: {"model": ErrorBody, "description": _REFUSALS.get(status, "The clip failed.")} for status in statuses
    }


def takes(form: type[Form], files: Sequence[str] = (), required: bool = True) -> dict[str, Any]:
    """A request body for the OpenAPI page: JSON, or a form in which some fields may be files."""
    schema = form.model_json_schema()
    schema = _inlined(schema, schema.pop("$defs", {}))
    content = {"application/json": {"schema": schema}}
    if files:
        file = {"type": "string", "format": "binary"}
        fields = {
            name: {**file, "description": field.get("description", "")} if name in files else field
            for name, field in schema["properties"].items()
        }
        content["multipart/form-data"] = {"schema": {**schema, "properties": fields}}
    return {"requestBody": {"required": required, "content": content}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema with the definitions that it names in their places: the page's own document does not know them."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    return {name: _inlined(part, definitions) for name, part in schema.items()}
