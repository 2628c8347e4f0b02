"""The files of finished jobs, as answers: whole, in parts, or not again if the client has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastapi.responses import FileResponse, Response, StreamingResponse

from happyhorse.errors import MediaError
from happyhorse.server.errors import ServiceError
from happyhorse.server.records import COMPLETED, Job
from happyhorse.server.service import Service

_BLOCK = 2**18


def tag(job: Job, variant: str) -> str:
    """What tells one content from another."""
    return f'"{(job.result or {}).get(variant, "")}"'


def content(service: Service, job: Job, variant: str, headers: Mapping[str, str] | None = None) -> Response:
    """A file of a finished job. Raises ServiceError 404 for one that is not finished, or whose file is gone."""
    if job.status != COMPLETED or not job.result:
        raise ServiceError(404, "not_ready", f"{job.id} is {job.status}; there is no {variant} until it is completed")
    blob, gone = job.result.get(variant), f"the {variant} of {job.id} is not there any more"
    if not blob:
        raise ServiceError(404, "gone", gone)
    try:  # it may be deleted at any moment
        path, length = service.blobs.local_path(blob), str(service.blobs.size(blob))
    except MediaError as error:
        raise ServiceError(404, "gone", gone) from error
    kind, ending = ("video/mp4", "mp4") if variant == "video" else ("image/jpeg", "jpg")
    name = f"{job.id}.{ending}" if variant == "video" else f"{job.id}-{variant}.{ending}"
    kept = {
        "ETag": tag(job, variant),
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": f'inline; filename="{name}"',
        **(headers or {}),
    }
    if path is not None:
        return FileResponse(path, media_type=kind, headers=kept)
    return StreamingResponse(_blocks(service, blob), media_type=kind, headers={**kept, "Content-Length": length})


def _blocks(service: Service, blob: str) -> Iterator[bytes]:
    with service.blobs.open(blob) as file:
        while block := file.read(_BLOCK):
            yield block
