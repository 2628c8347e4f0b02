"""What a client is told when something is refused or fails: the field, the limit and the way out, never internals."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from happyhorse.errors import (
    ConfigError,
    DeviceMemoryError,
    HappyhorseError,
    MediaError,
    PromptError,
    SizeError,
    WeightsError,
)
from happyhorse.server.keys import KeyRefusedError, ScopeError
from happyhorse.server.limits import LimitError
from happyhorse.server.records import IdempotencyError, JobError, JobNotFoundError, JobStoreError
from happyhorse.server.targets import FetchError

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "generation_error",
    429: "rate_limit_error",
}
"""Kinds of errors by status in the /v1/videos dialect; all others are "server_error"."""
CODES = {
    400: "InvalidParameter",
    401: "InvalidApiKey",
    403: "AccessDenied",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    413: "InvalidParameter",
    415: "InvalidParameter",
    429: "Throttling.RateQuota",
    503: "ServiceUnavailable",
    504: "RequestTimeOut",
}
"""Codes by status in HappyHorse's own dialect; all others are "InternalError"."""
INTERNAL = "internal_error"
INTERNAL_MESSAGE = "something went wrong inside the service; its log says what"
_OPTIONS = re.compile(r" \(--[a-z-]+\)")
"""Options of the command line, which the messages of other rooms may name."""
_MESSAGE_MAX = 2000


class ServiceError(HappyhorseError):
    """A refusal as a client is told of it."""

    def __init__(
        self, status: int, code: str, message: str, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message[:_MESSAGE_MAX])
        self.status, self.code, self.field, self.retry_after = status, code, field, retry_after

    @property
    def headers(self) -> dict[str, str]:
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        return headers if self.retry_after is None else {**headers, "Retry-After": str(max(1, round(self.retry_after)))}


class FieldError(ServiceError):
    """A field of a request that cannot be as it is."""

    def __init__(self, field: str | None, message: str, code: str = "invalid_value") -> None:
        super().__init__(400, code, message, field)


def unknown_model(name: str, known: list[str]) -> ServiceError:
    message = f"the model {name[:80]!r} is not served here; models are {', '.join(known)}"
    return ServiceError(404, "model_not_found", message, "model")


@contextlib.contextmanager
def naming(field: str, hide: object = None) -> Iterator[None]:
    """What is refused inside of the block is refused of this field; ``hide`` is a path that clients are not told."""
    try:
        yield
    except ServiceError:
        raise
    except (PromptError, SizeError, ConfigError, MediaError, FetchError) as error:
        message = str(error) if hide is None else str(error).replace(str(hide), "the file")
        raise FieldError(field, plain(message)) from error


def plain(message: str) -> str:
    """A message without the options of the command line."""
    return _OPTIONS.sub("", message)


def refusal(error: BaseException) -> ServiceError:
    """Any error as a client is told of it."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, KeyRefusedError):
        return ServiceError(401, "invalid_api_key", str(error))
    if isinstance(error, ScopeError):
        return ServiceError(403, "insufficient_scope", str(error))
    if isinstance(error, LimitError):
        return ServiceError(429, "rate_limit_exceeded", str(error), retry_after=error.seconds)
    if isinstance(error, JobNotFoundError):
        return ServiceError(404, "not_found", str(error))
    if isinstance(error, IdempotencyError):
        return ServiceError(409, "idempotency_conflict", str(error), "Idempotency-Key")
    if isinstance(error, JobStoreError):
        return ServiceError(
            503, "store_unavailable", "the service's database does not answer; try again later", None, 5
        )
    if isinstance(error, PromptError | SizeError | ConfigError | MediaError | FetchError | JobError):
        return FieldError(None, plain(str(error)))
    return ServiceError(500, INTERNAL, INTERNAL_MESSAGE)


def videos_body(error: ServiceError) -> dict[str, Any]:
    """An error in the /v1/videos dialect."""
    kind = KINDS.get(error.status, "server_error")
    return {"error": {"message": str(error), "type": kind, "param": error.field, "code": error.code}}


def dashscope_body(error: ServiceError, request_id: str) -> dict[str, Any]:
    """An error in HappyHorse's own dialect."""
    code = "ModelNotFound" if error.code == "model_not_found" else CODES.get(error.status, "InternalError")
    field = f"{error.field}: " if error.field and error.field not in str(error) else ""
    return {"code": code, "message": f"{field}{error}", "request_id": request_id}


def failure(error: BaseException) -> dict[str, str]:
    """What a job's record says of the error that ended it: {"code", "message"}."""
    for kind, code in _FAILURES.items():
        if isinstance(error, kind):
            return {"code": code, "message": _FAILURE_MESSAGES.get(code) or plain(str(error))}
    return {"code": INTERNAL, "message": INTERNAL_MESSAGE}


_FAILURES: dict[type[BaseException], str] = {
    PromptError: "invalid_prompt",
    SizeError: "invalid_size",
    MediaError: "invalid_media",
    ConfigError: "invalid_value",
    DeviceMemoryError: "out_of_memory",
    MemoryError: "out_of_memory",
    WeightsError: "model_unavailable",
}
_FAILURE_MESSAGES = {
    "out_of_memory": "the device has too little memory free for this clip; ask for a shorter or smaller one",
    "model_unavailable": "the model's weights cannot be read on this server; its log says why",
}
"""Instead of the error's own words, which name files of the server."""
