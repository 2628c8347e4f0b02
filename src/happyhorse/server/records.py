"""What is known of a job: plain frozen records, and the errors of asking for the wrong ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import secrets
import threading
from typing import Any

from happyhorse.errors import HappyhorseError

KINDS = ("generate", "render", "extend")
QUEUED, IN_PROGRESS = "queued", "in_progress"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
FINISHED = (COMPLETED, FAILED, CANCELLED)
STATUSES = (QUEUED, IN_PROGRESS, *FINISHED)
WORKER_LOST = "worker_lost"
"""Error code of a job whose workers vanished as often as it may be attempted."""
BATCH_VARIES = ("prompt", "negative_prompt", "seed", "notes", "user")
"""In what requests of one batch may differ. All else is shared: model, size, seconds, steps, guidance, conditions."""
REQUEST_BYTES_MAX = 1 << 20
_LIMITS = {"owner": 64, "model": 128, "idempotency_key": 255, "group": 64, "dialect": 32, "fingerprint": 128}
_URL_MAX = 2048
_ID = re.compile(r"video_[0-9a-f]{24}")
_HASH = re.compile(r"[0-9a-f]{64}")


class JobError(HappyhorseError):
    """A job that cannot be accepted, or a question about jobs that has no answer."""


class JobNotFoundError(JobError):
    """There is no such job, or it belongs to someone else, or it was deleted."""


class IdempotencyError(JobError):
    """An idempotency key was used before, with another request."""


class JobStoreError(JobError):
    """The database cannot be reached or written; nothing of the change was kept."""


@dataclasses.dataclass(frozen=True)
class Webhook:
    """Where to tell that a job has finished."""

    url: str
    secret_id: str = ""
    """Names the secret that signs the message; the secret itself is never in the database."""


@dataclasses.dataclass(frozen=True)
class Submission:
    """A job as it is handed in."""

    kind: str
    """One of ``KINDS``."""
    model: str
    request: dict[str, Any]
    """JSON, already checked and completed. Strings of 64 hex digits in it are content hashes of blobs, which are kept
    for as long as the job is."""
    owner: str = ""
    """Id of the key that asked; "" if no keys are needed."""
    attempts_max: int = 3
    remixed_from: str | None = None
    """Id of the job that this one builds on; it must exist."""
    idempotency_key: str | None = None
    fingerprint: str = ""
    """What "the same request" means for the idempotency key, for instance a hash of what the client sent, when
    ``request`` holds values that were drawn for it, such as a seed. Empty: all of this record that decides the clip."""
    webhook: Webhook | None = None
    group: str | None = None
    """Shared by several previews of one wish."""
    dialect: str = "videos"
    """In which dialect of the service the client speaks of this job."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A job as it is in the database. Times are seconds since 1970, UTC."""

    id: str
    """"video_" and 24 hex digits, which grow with the time of submission."""
    kind: str
    owner: str
    model: str
    request: dict[str, Any]
    status: str
    progress: float
    """0 to 100."""
    stage: str
    """What is being done, such as "denoising"."""
    created_at: float
    started_at: float | None
    """When the latest attempt began."""
    completed_at: float | None
    """When the job finished, in whichever way."""
    expires_at: float | None
    """When the job will be deleted; None: not by its age."""
    attempts: int
    """Attempts that have begun; with ``worker`` it says who may change the job."""
    attempts_max: int
    worker: str
    lease_until: float | None
    cancel_requested: bool
    error: dict[str, Any] | None
    """{"code", "message"} of a failed job."""
    result: dict[str, Any] | None
    """What the worker made, JSON: hashes of the blobs, bytes, media type, seconds, recipe, timings, peak memory."""
    remixed_from: str | None
    idempotency_key: str | None
    webhook: Webhook | None
    group: str | None
    dialect: str

    @property
    def finished(self) -> bool:
        return self.status in FINISHED


@dataclasses.dataclass(frozen=True)
class Event:
    """One change of a job."""

    job: str
    sequence: int
    """1, 2, 3, ... within the job, without gaps."""
    time: float
    kind: str
    """queued, started, progress, retried, released, lost, cancel_requested, completed, failed or cancelled."""
    data: dict[str, Any]
    """status, progress, stage and attempt after the change; error too where there is one."""


@dataclasses.dataclass(frozen=True)
class Page:
    """A part of a listing; the id of its last job is where the next one begins."""

    jobs: tuple[Job, ...]
    more: bool


class JobIds:
    """Makes ids that sort by time: 11 hex digits of milliseconds, 13 random ones.

    A cursor stays valid when its job is deleted, since it is compared and never looked up. Ids of one instance grow
    even within a millisecond and when the clock is set back.
    """

    def __init__(self) -> None:
        self._last = 0
        self._turn = threading.Lock()

    def new(self, now: float) -> str:
        fresh = (int(now * 1000) << 52) | secrets.randbits(52)
        with self._turn:
            self._last = max(fresh, self._last + 1 + secrets.randbits(40))
            return f"video_{self._last:024x}"


def is_job_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def is_hash(text: str) -> bool:
    """Whether a text is a content hash, SHA-256 in lower-case hex."""
    return _HASH.fullmatch(text) is not None


def referenced(value: Any) -> set[str]:
    """All content hashes in a JSON value."""
    if isinstance(value, str):
        return {value} if is_hash(value) else set()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return set().union(*map(referenced, parts))


def batch_of(submission: Submission) -> str:
    """Jobs with the same non-empty answer may be made in one batch. Only previews are: renders fill a device alone, and
    so does every clip of a published model."""
    request = submission.request
    rendered = request.get("preview", request.get("size")) != request.get("size")
    if submission.kind != "generate" or rendered or request.get("published"):
        return ""
    shared = {name: value for name, value in request.items() if name not in BATCH_VARIES}
    return _hashed([submission.model, shared])


def fingerprint_of(submission: Submission) -> str:
    """What must be equal for a repeated idempotency key to mean the same job."""
    webhook = dataclasses.astuple(submission.webhook) if submission.webhook else None
    parts = [submission.kind, submission.model, submission.request, submission.remixed_from, webhook]
    return submission.fingerprint or _hashed(parts)


def check_submission(submission: Submission) -> None:
    """Raises JobError naming the field and its limit."""
    if submission.kind not in KINDS:
        raise JobError(f"kind is {submission.kind!r}; it must be one of {', '.join(KINDS)}")
    if submission.attempts_max < 1:
        raise JobError(f"attempts_max is {submission.attempts_max}; it must be at least 1")
    for name, limit in _LIMITS.items():
        _check_text(name, getattr(submission, name), limit)
    if submission.idempotency_key == "":
        raise JobError("idempotency_key is empty; leave it out or give it 1 to 255 characters")
    if submission.webhook:
        _check_text("webhook.url", submission.webhook.url, _URL_MAX)
        _check_text("webhook.secret_id", submission.webhook.secret_id, _LIMITS["owner"])
    try:
        size = len(json.dumps(submission.request, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise JobError(f"request is not JSON ({error}); leave out what JSON cannot hold") from error
    if size > REQUEST_BYTES_MAX:
        raise JobError(f"request has {size} bytes; the limit is {REQUEST_BYTES_MAX}; give files as blobs")


def _check_text(name: str, text: str | None, limit: int) -> None:
    """Databases refuse what is not UTF-8, and PostgreSQL refuses the character 0."""
    if text is None:
        return
    if len(text) > limit:
        raise JobError(f"{name} has {len(text)} characters; the limit is {limit}")
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise JobError(f"{name} holds characters that are not text; leave them out")


def _hashed(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
