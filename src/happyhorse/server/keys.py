"""API keys: shown once, kept as salted hashes in a JSON file that every process of the server reads.

A key is ``hh_`` and 32 letters and digits. The first eight are its id: they find the record, may be shown and logged,
and name the owner of jobs. The other 24 are the secret; they carry 142 random bits, so that a fast keyed hash is as
safe as a slow one is for a password.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import string
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from happyhorse.config import Config
from happyhorse.errors import ConfigError, HappyhorseError, OutputError
from happyhorse.files import make_folder, output_error, whole_file
from happyhorse.server.limits import Limits

FILE = "keys.json"
SCOPES = ("generate", "read", "delete", "vote", "admin")
"""What a key may be for; ``admin`` includes all others."""
PREFIX = "hh_"

_LETTERS = string.ascii_letters + string.digits
_KEY = re.compile(rf"{PREFIX}[A-Za-z0-9]{{32}}")
_ID_LENGTH, _LENGTH = 8, 32
_NAME_MAX = 64
_USED_EVERY = 3600.0
_WAIT = 10.0


class KeyRefusedError(HappyhorseError):
    """No key, or one that is unknown, revoked or expired (HTTP 401)."""


class ScopeError(HappyhorseError):
    """A good key that was not made for this (HTTP 403)."""


@dataclasses.dataclass(frozen=True)
class Key(Config):
    """What is kept of a key: everything but its secret. Times are Unix seconds."""

    id: str
    """The eight public characters."""
    name: str
    """Who or what it was made for."""
    scopes: tuple[str, ...]
    salt: str
    digest: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    """To the hour, so that requests do not write."""
    limits: Limits | None = None
    """None: those of the server."""

    def allows(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes


_NOBODY = Key("", "", (), "00" * 16, "00" * 32, 0.0)
"""Compared with when an id is unknown: that takes as long as a wrong secret."""


class Keys:
    """The keys of a server, in ``keys.json`` of its folder (readable by its user only).

    The file is written whole, under a lock, and read again when it changes: a key made or revoked by one process counts
    in all of them at the next request. ``pepper`` is an operator's secret that is kept elsewhere: without it,
    being able to write the file is not enough to make a key. Keys made with another pepper do not work.
    """

    def __init__(self, folder: Path | str, *, pepper: bytes = b"", clock: Callable[[], float] = time.time) -> None:
        self._path = Path(folder) / FILE
        self._pepper, self._clock = pepper, clock
        self._read: tuple[Any, dict[str, Key]] = (None, {})

    def create(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        limits: Limits | None = None,
        lifetime: float | None = None,
    ) -> str:
        """Makes a key and returns it; it cannot be shown again. ``lifetime`` in seconds, None: until it is revoked.

        Raises ConfigError for a name, scope or lifetime that cannot be, OutputError if the file cannot be written.
        """
        _check_name(name)
        _check_scopes(scopes)
        if lifetime is not None and lifetime <= 0:
            raise ConfigError(f"a lifetime of {lifetime:g} s is over at once; give more than 0")
        now = self._clock()
        with self._changing() as keys:
            secret = _new_key(taken=keys)
            salt = secrets.token_bytes(16)
            keys[key_id(secret)] = Key(
                id=key_id(secret),
                name=name,
                scopes=tuple(scope for scope in SCOPES if scope in scopes),
                salt=salt.hex(),
                digest=self._digest(secret, salt).hex(),
                created_at=now,
                expires_at=None if lifetime is None else now + lifetime,
                limits=limits,
            )
        return secret

    def check(self, secret: str, scope: str) -> Key:
        """The key's record if it is good for ``scope``. Raises KeyRefusedError or ScopeError."""
        assert scope in SCOPES, scope
        key, now = self._matching(secret), self._clock()
        if key is None:
            raise KeyRefusedError("this API key is not known here; send a valid one (Authorization: Bearer hh_...)")
        if key.revoked_at is not None:
            raise KeyRefusedError(f"the API key {PREFIX}{key.id}... was revoked; ask for a new one")
        if key.expires_at is not None and key.expires_at <= now:
            raise KeyRefusedError(f"the API key {PREFIX}{key.id}... has expired; ask for a new one")
        if not key.allows(scope):
            raise ScopeError(f"this API key may {', '.join(key.scopes)}; this request needs a key that may {scope}")
        self._note_use(key, now)
        return key

    def list(self) -> tuple[Key, ...]:
        """All keys, revoked ones too, oldest first."""
        return tuple(sorted(self._keys().values(), key=lambda key: key.created_at))

    def revoke(self, name: str) -> Key:
        """Ends a key for good, by its id (with or without ``hh_``). Raises ConfigError if there is none of that id."""
        identity = name.removeprefix(PREFIX)[:_ID_LENGTH]
        with self._changing() as keys:
            if identity not in keys:
                raise ConfigError(f"there is no API key {name[: len(PREFIX) + _ID_LENGTH]}; list the keys to see ids")
            if keys[identity].revoked_at is None:
                keys[identity] = dataclasses.replace(keys[identity], revoked_at=self._clock())
            return keys[identity]

    # ----------------------------------------------------------------------------------------------------- comparing
    def _matching(self, secret: str) -> Key | None:
        if not _KEY.fullmatch(secret):
            return None
        key = self._keys().get(key_id(secret), _NOBODY)
        found = self._digest(secret, bytes.fromhex(key.salt))
        return key if hmac.compare_digest(found, bytes.fromhex(key.digest)) else None

    def _digest(self, secret: str, salt: bytes) -> bytes:
        pepper = hashlib.sha256(self._pepper).digest()
        return hashlib.blake2b(
            secret.encode(), key=pepper, salt=salt, person=b"happyhorse key", digest_size=32
        ).digest()

    def _note_use(self, key: Key, now: float) -> None:
        """Writes when the key was used, at most once an hour; a disk that is full or locked stops nobody's request."""
        if key.last_used_at is not None and now - key.last_used_at < _USED_EVERY:
            return
        with contextlib.suppress(OutputError), self._changing(wait=0) as keys:
            if key.id in keys:
                keys[key.id] = dataclasses.replace(keys[key.id], last_used_at=now)

    # ------------------------------------------------------------------------------------------------------ the file
    def _keys(self) -> dict[str, Key]:
        """All keys by id, read again if the file is another one than last time."""
        stamp = self._stamp()
        if stamp != self._read[0]:
            self._read = (stamp, self._load())
        return self._read[1]

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self._path) from error
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _load(self) -> dict[str, Key]:
        try:
            records = json.loads(self._path.read_text(encoding="utf-8"))["keys"]
            return {key.id: key for key in map(_from_record, records)}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(self._path) from error

    @contextlib.contextmanager
    def _changing(self, wait: float = _WAIT) -> Iterator[dict[str, Key]]:
        """The keys to be changed; written when the block ends well. Nobody else changes them meanwhile."""
        make_folder(self._path.parent)
        with locked(self._path, wait):
            keys = self._load()
            yield keys
            self._write(keys)

    def _write(self, keys: dict[str, Key]) -> None:
        text = json.dumps({"keys": [_to_record(key) for key in keys.values()]}, indent=1)
        with whole_file(self._path) as temporary:
            # Never readable by others, not even while it is empty.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                os.chmod(temporary, 0o600)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())


def key_id(secret: str) -> str:
    """The public part of a key."""
    return secret.removeprefix(PREFIX)[:_ID_LENGTH]


def needs_keys(host: str, setting: bool | None = None) -> bool:
    """Whether a server bound to ``host`` asks for keys: unless told otherwise, if other machines can reach it."""
    if setting is not None:
        return setting
    name = host.strip("[]").lower()
    if name == "localhost":
        return False
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return True  # "" is every address, and a name may be any
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_loopback


def _new_key(taken: dict[str, Key]) -> str:
    while True:
        secret = PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        if key_id(secret) not in taken:
            return secret


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > _NAME_MAX or not name.isprintable():
        raise ConfigError(f"a key's name has 1 to {_NAME_MAX} printable characters; got {name[:80]!r}")


def _check_scopes(scopes: Sequence[str]) -> None:
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes or isinstance(scopes, str):
        given = ", ".join(map(str, unknown)) or "none"
        raise ConfigError(f"a key's scopes are some of {', '.join(SCOPES)}; got {given}")


def _to_record(key: Key) -> dict[str, Any]:
    return {**key.to_dict(), "limits": key.limits and key.limits.to_dict()}


def _from_record(record: dict[str, Any]) -> Key:
    return Key.from_dict({**record, "limits": record["limits"] and Limits.from_dict(record["limits"])})


def _unreadable(path: Path) -> ConfigError:
    return ConfigError(f"{path.name} is damaged or may not be read; restore it, or remove it and make new keys")


@contextlib.contextmanager
def locked(path: Path, wait: float) -> Iterator[None]:
    """Keeps a file to this process inside of the block. Raises OutputError if another has it for ``wait`` seconds."""
    from filelock import FileLock, Timeout

    lock = FileLock(str(path.with_suffix(".lock")), timeout=wait)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"another process has been writing {path} for {wait:g} s; try again") from error
    except OSError as error:
        raise output_error(path, error) from error
    try:
        yield
    finally:
        lock.release()
