"""Webhooks: signed as Standard Webhooks (github.com/standard-webhooks) asks, delivered like ``fetching`` fetches, tried
again with growing pauses.

Nothing is stored here: the outbox of jobs says what is due, ``deliver`` tries once and ``Backoff.after`` says when to
try again.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import hmac
import random
import secrets
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Literal

from happyhorse.config import Config
from happyhorse.errors import ConfigError, HappyhorseError
from happyhorse.server.connections import Deadline, Network, answer_to
from happyhorse.server.targets import ConnectionPolicy, FetchError, UnreachableError, target_of

PREFIX = "whsec_"
TOLERANCE = 300.0
"""Seconds by which the clocks of sender and receiver may differ; older messages may be replays."""
_SECRET_BYTES = (24, 64)
_TRY_AGAIN = (408, 425, 429)
_ASKED_MAX = 86_400.0


class SignatureError(HappyhorseError):
    """A message that was not signed with the secret, was changed, or is too old."""


# ---------------------------------------------------------------------------------------------------------- signatures
def new_secret() -> str:
    """A secret for a receiver: ``whsec_`` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The signature "v1,..." of a message: HMAC-SHA256 of "id.timestamp.body", base64. ``timestamp`` in Unix seconds.

    Raises ConfigError if the secret is none.
    """
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


def signed_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers that go with a message."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, message_id, timestamp, body),
    }


def verify(
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> str:
    """For receivers: the id of a message whose ``body`` is as it came, byte for byte; keep ids to tell repeats.

    Raises SignatureError if a header is missing, the time is more than ``tolerance`` seconds off, or no signature fits.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, time_text = given["webhook-id"], given["webhook-timestamp"]
        signatures, timestamp = given["webhook-signature"].split(), int(time_text)
    except (KeyError, ValueError) as error:
        raise SignatureError("webhook-id, webhook-timestamp or webhook-signature is missing or unreadable") from error
    if abs((time.time() if now is None else now) - timestamp) > tolerance:
        raise SignatureError(f"the message is not from the last {tolerance:g} s; check the clock")
    expected = sign(secret, message_id, timestamp, body).encode()
    # Several signatures come while a secret is replaced by another.
    if not any(hmac.compare_digest(expected, signature.encode()) for signature in signatures):
        raise SignatureError("the message was not signed with this secret, or was changed on its way")
    return message_id


def _key(secret: str) -> bytes:
    least, most = _SECRET_BYTES
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"a webhook's secret is {PREFIX} and {least} to {most} bytes in base64") from error
    if not least <= len(key) <= most:
        raise ConfigError(f"a webhook's secret has {least} to {most} bytes; this one has {len(key)}")
    return key


# ------------------------------------------------------------------------------------------------------------ delivery
@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of an attempt."""

    state: Literal["done", "retry", "gone"]
    """gone: the receiver, or our policy, does not want it; another attempt would end the same."""
    reason: str
    """A line to keep and to show."""
    status: int = 0
    """Of the answer; 0 if there was none."""
    asked: float = 0.0
    """Seconds that the receiver asked us to wait."""


def deliver(
    url: str,
    body: bytes,
    secret: str,
    policy: ConnectionPolicy,
    *,
    message_id: str,
    now: float | None = None,
    network: Network | None = None,
) -> Outcome:
    """Posts a JSON ``body`` once, signed afresh, and says what came of it. ``message_id`` is that of every attempt.

    Redirects are not followed and the answer's body is not read. Raises ConfigError if the secret is none; everything
    else is an outcome.
    """
    network, now = network or Network(), time.time() if now is None else now
    headers = {
        "Content-Type": "application/json",
        **signed_headers(secret, message_id, int(now), body),
    }
    try:
        deadline = Deadline(policy.seconds, network.clock)
        target = target_of(url, policy)
        with answer_to("POST", target, policy, deadline, network, headers=headers, body=body) as answer:
            return outcome_of(answer.status, answer.headers.get("Retry-After", ""), now)
    except UnreachableError as error:
        return Outcome("retry", str(error))
    except FetchError as error:
        return Outcome("gone", str(error))


def outcome_of(status: int, retry_after: str = "", now: float = 0.0) -> Outcome:
    """What an answer means: 2xx is done; 408, 425, 429 and 5xx may go well later; all else, redirects too, will not."""
    reason = f"answered {status}"
    if 200 <= status < 300:
        return Outcome("done", reason, status)
    if status in _TRY_AGAIN or status >= 500:
        return Outcome("retry", reason, status, _asked_seconds(retry_after, now))
    return Outcome("gone", reason, status)


def _asked_seconds(retry_after: str, now: float) -> float:
    """Retry-After (RFC 9110): seconds or a date; 0 if it is neither, a day at most."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _ASKED_MAX)
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, until - now), _ASKED_MAX)


@dataclasses.dataclass(frozen=True)
class Backoff(Config):
    """When to try again: pauses that grow by a factor, spread at random so that receivers are not met by a crowd."""

    first: float = 5.0
    """Seconds after the first attempt."""
    factor: float = 4.0
    longest: float = 6 * 3600.0
    attempts: int = 12
    """After so many a message is given up; with the other defaults that is after about a day."""

    def __post_init__(self) -> None:
        if not (self.first > 0 and self.factor >= 1 and self.longest >= self.first and self.attempts >= 1):
            raise ConfigError(
                "first must be more than 0, factor at least 1, longest at least first, attempts at least 1"
            )

    def seconds(self, attempt: int, draw: Callable[[], float] = random.random) -> float:
        """The pause after ``attempt`` (1, 2, ...): half of min(longest, first * factor^(attempt - 1)) is certain, the
        other half is multiplied by ``draw()`` in [0, 1)."""
        assert attempt >= 1, attempt
        # Far out the power has no float, and the pause has long been the longest.
        steps = min(attempt - 1, 64)
        return min(self.longest, self.first * self.factor**steps) * (0.5 + 0.5 * draw())

    def after(self, outcome: Outcome, attempt: int, draw: Callable[[], float] = random.random) -> float | None:
        """Seconds until the next attempt, no less than the receiver asked for; None if there is none to be made."""
        if outcome.state != "retry" or attempt >= self.attempts:
            return None
        return max(self.seconds(attempt, draw), outcome.asked)
