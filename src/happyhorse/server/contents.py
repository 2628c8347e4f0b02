"""The files of finished jobs, as answers: whole, in parts, or not again if the client has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastapi.responses import FileResponse, Response, StreamingResponse

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
    blob = job.result.get(variant)
    if not blob or not service.blobs.exists(blob):
        raise ServiceError(404, "gone", f"the {variant} of {job.id} is not there any more")
    kind, ending = ("video/mp4", "mp4") if variant == "video" else ("image/jpeg", "jpg")
    name = f"{job.id}.{ending}" if variant == "video" else f"{job.id}-{variant}.{ending}"
    kept = {
        "ETag": tag(job, variant),
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": f'inline; filename="{name}"',
        **(headers or {}),
    }
    path = service.blobs.local_path(blob)
    if path is not None:
        return FileResponse(path, media_type=kind, headers=kept)
    length = {"Content-Length": str(service.blobs.size(blob))}
    return StreamingResponse(_blocks(service, blob), media_type=kind, headers={**kept, **length})


def _blocks(service: Service, blob: str) -> Iterator[bytes]:
    with service.blobs.open(blob) as file:
        while block := file.read(_BLOCK):
            yield block
