"""Media that come with a request: files, URLs, data: URLs and earlier clips become checked, kept blobs."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any, BinaryIO

from happyhorse.errors import MediaError
from happyhorse.server.errors import FieldError, naming
from happyhorse.server.fetching import fetch
from happyhorse.server.inspection import Facts
from happyhorse.server.orders import Medium
from happyhorse.server.records import COMPLETED, Job
from happyhorse.server.service import Caller, Service
from happyhorse.server.uploads import accept, recognised


@dataclasses.dataclass(frozen=True)
class Intake:
    """Takes what a caller gives."""

    service: Service
    caller: Caller

    def file(self, field: str, kind: str, source: BinaryIO | bytes) -> Medium:
        """A file that was sent. Raises FieldError naming the field and the limit."""
        with naming(field):
            upload = accept(source, kind, self.service.settings.uploads, self.service.incoming)
        return self._keep(field, kind, upload.path, upload.media_type)

    def url(self, field: str, kind: str, url: str) -> Medium:
        """A file from a URL, within the policy, or from a data: URL."""
        policy = self.service.settings.fetching
        limits = self.service.settings.uploads
        with naming(field):
            found = fetch(url, dataclasses.replace(policy, bytes_max=limits.bytes_max(kind)), self.service.incoming)
        try:
            with naming(field, hide=found.path):
                media_type = recognised(found.path, kind).media_types[0]
        except FieldError:
            found.path.unlink(missing_ok=True)
            raise
        return self._keep(field, kind, found.path, media_type)

    def clip(self, field: str, job: str) -> tuple[Job, Medium]:
        """A finished clip of this server and its job. Raises FieldError if it is not finished."""
        found = self.service.queue.get(job, self.caller.sees)
        if found.status != COMPLETED or not found.result:
            raise FieldError(field, f"{job} is {found.status}; wait until it is completed", "not_completed")
        result = found.result
        width, height = map(int, result["size"].split("x"))
        medium = Medium(result["video"], "video/mp4", result["bytes"], width, height, result["seconds"])
        if not self.service.blobs.exists(medium.blob):
            raise FieldError(field, f"the file of {job} is gone", "gone")
        return found, medium

    def _keep(self, field: str, kind: str, path: Path, media_type: str) -> Medium:
        """Decodes a file in a process of its own, and keeps it if it is what it should be."""
        try:
            with naming(field, hide=path):
                facts = self.service.inspector.inspect(path, kind)
                _check(kind, facts)
                blob = self.service.blobs.put_file(path, media_type)
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
        return Medium(blob.hash, media_type, blob.bytes, facts.width, facts.height, facts.seconds)


def _check(kind: str, facts: Facts) -> None:
    if kind == "video" and not facts.frames:
        raise MediaError("the video holds no frames; send another file")


def reference_url(field: str, reference: Any) -> str:
    """The URL in a reference: a text, or an object with one of its fields. Raises FieldError for none or several."""
    if isinstance(reference, str):
        return reference
    given = {name: value for name, value in reference.model_dump().items() if value is not None}
    if len(given) != 1:
        raise FieldError(field, f"{field} has {len(given)} of image_url, audio_url, video_url, url, id; give one")
    name, value = next(iter(given.items()))
    if name == "id":
        raise FieldError(f"{field}.id", f"{field} takes a file or a URL; a finished video is taken as video_reference")
    return value
