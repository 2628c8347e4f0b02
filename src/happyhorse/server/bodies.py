"""What comes in a request's body: JSON, or a multipart form with files; both as fields by name."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from happyhorse.server.errors import FieldError, ServiceError

JSON_BYTES_MAX = 96 * 2**20
"""A sound of 64 MiB as a data: URL; all of it is in memory."""
FIELDS_MAX = 100
FIELD_BYTES_MAX = 48 * 2**20
_INSIDE = re.compile(r"\[([^\[\]]*)\]")


@dataclasses.dataclass(frozen=True)
class Body:
    """Fields and files of a request."""

    fields: dict[str, Any]
    """As JSON would have them; in a multipart form numbers are texts."""
    files: dict[str, UploadFile]


async def read_body(request: Request, file_fields: Iterable[str] = ()) -> Body:
    """The body's fields; files are taken for ``file_fields`` only.

    Raises ServiceError 413 for one that is too large, 415 for another type, FieldError for what cannot be read.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared == "application/json":
        return Body(_json_object(await _whole(request)), {})
    if declared in ("multipart/form-data", "application/x-www-form-urlencoded"):
        return await _form(request, tuple(file_fields))
    if not declared and not await _whole(request):
        return Body({}, {})
    shown = f"{declared[:60]!r}" if declared else "of no declared type"
    raise ServiceError(
        415,
        "unsupported_media_type",
        f"the body is {shown}; send application/json or multipart/form-data",
        "Content-Type",
    )


async def _whole(request: Request) -> bytes:
    data = bytearray()
    async for block in request.stream():
        data += block
        if len(data) > JSON_BYTES_MAX:
            raise ServiceError(
                413, "body_too_large", f"a JSON body may have {JSON_BYTES_MAX >> 20} MiB; send files instead"
            )
    return bytes(data)


def _json_object(data: bytes) -> dict[str, Any]:
    if not data.strip():
        return {}
    try:
        found = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # ValueError: also bytes that are no UTF-8, and very long numbers
        raise FieldError(None, f"the body is not JSON ({str(error)[:120]})", "invalid_json") from error
    if not isinstance(found, dict):
        raise FieldError(None, 'the body must be a JSON object such as {"prompt": "..."}', "invalid_json")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


async def _form(request: Request, file_fields: tuple[str, ...]) -> Body:
    try:
        form = await request.form(max_files=len(file_fields) or 1, max_fields=FIELDS_MAX, max_part_size=FIELD_BYTES_MAX)
    except (MultiPartException, UnicodeDecodeError, KeyError) as error:
        message = getattr(error, "message", "it is damaged")
        raise FieldError(None, f"the form cannot be read: {message}", "invalid_form") from error
    except Exception as error:  # Starlette turns the parser's error into one of its own with status 400
        if getattr(error, "status_code", None) == 400:
            raise FieldError(
                None, f"the form cannot be read: {getattr(error, 'detail', '')}", "invalid_form"
            ) from error
        raise
    fields, files = dict[str, Any](), dict[str, UploadFile]()
    for key, value in form.multi_items():
        name = key.removesuffix("[]")
        if name in files or name in fields:
            raise FieldError(name[:80], f"{name[:80]} was sent twice; send it once")
        if isinstance(value, str):
            _put(fields, name, _value(value))
        elif name not in file_fields:
            taken = f"files are taken for {', '.join(file_fields)}" if file_fields else "no files are taken here"
            raise FieldError(name[:80], f"{name[:80]} is a file; {taken}")
        else:
            files[name] = value
    return Body(fields, files)


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    """ "video[id]" is the field id of the object video, as some clients send objects."""
    outer, inside = name.partition("[")[0], _INSIDE.findall(name)
    if not inside or not outer:
        fields[name] = value
        return
    place = fields.setdefault(outer, {})
    for part in inside[:-1]:
        place = place.setdefault(part, {}) if isinstance(place, dict) else None
    if not isinstance(place, dict) or inside[-1] in place:
        raise FieldError(name[:80], f"{name[:80]} was sent twice, or does not go with the other fields")
    place[inside[-1]] = value


def _value(text: str) -> Any:
    """Objects come as JSON; everything else stays text, which forms read as what they need."""
    if text[:1] == "{":
        try:
            return json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return text
    return text


def sent(fields: Any, files: Mapping[str, str]) -> str:
    """A canonical text of a request, to tell whether a repeated one is the same; ``files`` by their hashes."""
    return json.dumps([fields, files], sort_keys=True, separators=(",", ":"))
