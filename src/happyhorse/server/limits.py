"""How often and how much at once: a token bucket and a count of running requests for each API key."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator

from happyhorse.config import Config
from happyhorse.errors import ConfigError, HappyhorseError

NAMES_MAX = 100_000
"""Keys (or addresses) that are remembered at most; the longest unused are forgotten first."""
_SWEEP_FROM = 1_024
_FULL_ENOUGH = 1e-9
"""A bucket that was waited for to the second may lack a rounding error."""


class LimitError(HappyhorseError):
    """Too many requests, or too many at once; ``seconds`` says when to ask again."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclasses.dataclass(frozen=True)
class Limits(Config):
    """What a key may ask for."""

    per_minute: float = 120.0
    """Requests a minute in the long run."""
    burst: int = 30
    """Requests that may come at once after a pause."""
    concurrent: int = 8
    """Requests that may run at the same time."""

    def __post_init__(self) -> None:
        if not self.per_minute > 0:
            raise ConfigError(f"per_minute is {self.per_minute}; it must be more than 0")
        if self.burst < 1 or self.concurrent < 1:
            raise ConfigError(f"burst is {self.burst} and concurrent {self.concurrent}; both must be at least 1")


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Requests that may still be made, as of a time in seconds."""

    tokens: float
    at: float


def refilled(bucket: Bucket, now: float, limits: Limits) -> Bucket:
    """The bucket as it is now: it gains ``per_minute / 60`` a second, up to ``burst``."""
    gained = max(0.0, now - bucket.at) * limits.per_minute / 60
    return Bucket(min(limits.burst, bucket.tokens + gained), max(now, bucket.at))


def take(bucket: Bucket, now: float, limits: Limits) -> tuple[Bucket, float]:
    """The bucket after one request, and 0; or the bucket as it was, and the seconds until there is one to take."""
    bucket = refilled(bucket, now, limits)
    if bucket.tokens >= 1 - _FULL_ENOUGH:
        return Bucket(max(0.0, bucket.tokens - 1), bucket.at), 0.0
    return bucket, (1 - bucket.tokens) * 60 / limits.per_minute


@dataclasses.dataclass
class _Use:
    """What one key does now."""

    bucket: Bucket
    limits: Limits
    running: int = 0

    def idle(self, now: float) -> bool:
        """Whether forgetting it changes nothing: a key that is new starts with a full bucket too."""
        return not self.running and refilled(self.bucket, now, self.limits).tokens >= self.limits.burst


class Limiter:
    """Counts for all keys of one server process; safe to share between threads.

    Several processes that serve the same keys count for themselves: give each its part of the limits.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, names_max: int = NAMES_MAX) -> None:
        self._clock, self._names_max = clock, names_max
        self._lock = threading.Lock()
        self._uses: dict[str, _Use] = {}
        self._sweep_at = min(_SWEEP_FROM, names_max)

    def admit(self, name: str, limits: Limits) -> None:
        """Counts a request of the key ``name``. Raises LimitError if it comes too soon; it is then not counted."""
        with self._lock:
            now = self._clock()
            use = self._use(name, limits, now)
            use.bucket, wait = take(use.bucket, now, limits)
        if wait:
            raise LimitError(
                f"more than {limits.per_minute:g} requests a minute; ask again in {math.ceil(wait)} s", wait
            )

    @contextlib.contextmanager
    def slot(self, name: str, limits: Limits) -> Iterator[None]:
        """Counts a request as running while the block lasts. Raises LimitError if too many of the key run already."""
        with self._lock:
            use = self._use(name, limits, self._clock())
            if use.running >= limits.concurrent:
                raise LimitError(f"{use.running} requests of this key run already, which is its limit; let one end", 1)
            use.running += 1
        try:
            yield
        finally:
            with self._lock:
                use.running -= 1

    def __len__(self) -> int:
        """Keys that are remembered."""
        return len(self._uses)

    def _use(self, name: str, limits: Limits, now: float) -> _Use:
        use = self._uses.pop(name, None)
        if use is None:
            self._sweep(now)
            use = _Use(Bucket(limits.burst, now), limits)
        use.limits = limits
        self._uses[name] = use  # at the end: the first ones are those unused for longest
        return use

    def _sweep(self, now: float) -> None:
        """Forgets idle keys whenever their number has doubled; a tenth of all if it is still too large. So it costs
        little on average, also in a flood of names."""
        if len(self._uses) < self._sweep_at:
            return
        self._uses = {name: use for name, use in self._uses.items() if not use.idle(now)}
        for name in [name for name, use in self._uses.items() if not use.running]:
            if len(self._uses) <= 0.9 * self._names_max:
                break
            del self._uses[name]
        self._sweep_at = min(self._names_max, max(_SWEEP_FROM, 2 * len(self._uses)))
