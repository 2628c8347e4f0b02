"""Fetches public weights from the hub, file by file.

A file has its real name only when it is whole and its hash was compared, see ``kept``. Until then it is a hidden
.NAME.HASH.part, which the next pull goes on with: after a cut connection, Ctrl-C, a kill or a full disk.
(huggingface_hub's own downloads begin anew after each of these, so only its single steps are used here.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from happyhorse.errors import HappyhorseError, WeightsError
from happyhorse.files import make_folder, output_error
from happyhorse.weights.catalogue import INDEX, Part, PublicModel, readable
from happyhorse.weights.kept import (
    Progress,
    State,
    WantedFile,
    alone,
    is_content,
    part_folder,
    read_record,
    state,
    write_record,
)
from happyhorse.weights.store import file_hash

_ANSWER_SECONDS = 30.0
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


# ---------------------------------------------------------------------------------------------------------------- pull
def pull(
    wanted: PublicModel | Part,
    progress: Progress | None = None,
    *,
    folder: Path | None = None,
    endpoint: str | None = None,
    token: str | bool | None = None,
) -> State:
    """Fetches what of a model is not here yet, file by file, and compares every hash.

    ``endpoint`` is huggingface_hub's own if None (HF_ENDPOINT), ``token`` that of HF_TOKEN or of the last login (False:
    none). Before a large file is touched, the hub is asked for all sizes and for access to every repository, and the
    disk for its space. Raises WeightsError or OutputError saying what is in the way; what was fetched stays, and the
    next pull goes on with it.
    """
    model = wanted if isinstance(wanted, PublicModel) else PublicModel(wanted.name, "", {"transformer": wanted})
    hub = _Hub(endpoint, token)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_without_telemetry())
        orders = [_order(hub, part, part_folder(part, folder)) for part in model.parts.values()]
        for order in orders:
            order.ask_for_access()
        for order in orders:
            make_folder(order.place)
            stack.enter_context(alone(order.place))
            order.narrow()
        _check_space(model.name, orders)
        total = sum(file.bytes for order in orders for file in order.files)
        done = sum(order.bytes_here() for order in orders)
        report = progress or (lambda *_: None)
        report(done, total, "")
        for order in orders:
            order.write_down()
        for order in orders:
            done = order.fetch(done, total, report)
    return state(model, folder)


@dataclasses.dataclass
class _Order:
    """A part on its way: the files that are wanted, and which of them are whole."""

    hub: _Hub
    part: Part
    place: Path
    files: list[WantedFile]

    def missing(self) -> list[WantedFile]:
        return [file for file in self.files if not file.is_in(self.place)]

    def bytes_here(self) -> int:
        """Bytes of wanted files that need not be fetched, unfinished ones included."""
        here = sum(file.bytes for file in self.files if file.is_in(self.place))
        return here + sum(_begun(file, self.place) for file in self.missing())

    def ask_for_access(self) -> None:
        if missing := self.missing():
            self.hub.ask_for_access(self.part, missing[0])

    def narrow(self) -> None:
        """Fetches the index, if there is one, and drops the files that it shows to be of no use."""
        index = next((file for file in self.files if file.file == INDEX), None)
        if index is None:
            return
        if not index.is_in(self.place):
            self._replace(self.hub.fetch(self.part, index, self.place, lambda _: None))
        try:
            shards = dict(json.loads((self.place / INDEX).read_text(encoding="utf-8"))["weight_map"])
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{self.place / INDEX} is no index of weights ({error}); remove it and pull") from error
        useful = set(self.part.narrowed([file.file for file in self.files], shards))
        self.files = [file for file in self.files if file.file in useful]

    def fetch(self, done: int, total: int, report: Progress) -> int:
        """Fetches what is missing, the record kept up after each file; returns the bytes done so far."""
        for file in self.missing():
            before = done - _begun(file, self.place)

            def at(position: int, before: int = before, name: str = file.file) -> None:
                report(before + position, total, name)

            self._replace(self.hub.fetch(self.part, file, self.place, at))
            self.write_down()
            done = before + file.bytes
            report(done, total, file.file)
        return done

    def write_down(self) -> None:
        write_record(self.place, self.part, self.files)

    def _replace(self, fetched: WantedFile) -> None:
        self.files = [fetched if file.file == fetched.file else file for file in self.files]


def _order(hub: _Hub, part: Part, place: Path) -> _Order:
    """The part as the hub offers it now. Files that are here keep what is known of them; others are looked into."""
    offered = hub.listing(part)
    known = {file.file: file for file in read_record(place)}
    return _Order(hub, part, place, [_compared(file, known.get(file.file), place) for file in offered])


def _compared(offered: WantedFile, known: WantedFile | None, place: Path) -> WantedFile:
    """``offered``, marked as damaged if the file that lies here under its name is another one."""
    if known and _same(known, offered) and not known.damaged:
        return dataclasses.replace(offered, sha256=known.sha256)
    if not offered.is_in(place):
        return offered
    return _kept(offered, place) or dataclasses.replace(offered, damaged=True)


def _same(first: WantedFile, second: WantedFile) -> bool:
    return first.bytes == second.bytes and (
        first.sha256 == second.sha256 if second.sha256 else bool(second.blob) and first.blob == second.blob
    )


def _kept(file: WantedFile, place: Path) -> WantedFile | None:
    """The file with its SHA-256, or None if what lies there is something else."""
    path = place / file.file
    return dataclasses.replace(file, sha256=file_hash(path), damaged=False) if is_content(path, file) else None


def _begun(file: WantedFile, place: Path) -> int:
    """Bytes of a file that were fetched before it was interrupted."""
    path = file.partial(place)
    return min(path.stat().st_size, file.bytes) if path.is_file() else 0


def _check_space(name: str, orders: Sequence[_Order]) -> None:
    needed = sum(file.bytes - _begun(file, order.place) for order in orders for file in order.missing())
    place = orders[0].place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise WeightsError(
            f"{name} needs {readable(needed)} more, and {place} has {readable(free)} free; "
            "make room, or let HAPPYHORSE_MODELS name a folder on a larger disk"
        )


# ------------------------------------------------------------------------------------------------------------- the hub
class _Hub:
    """What is asked of the hub, with its errors in our words."""

    def __init__(self, endpoint: str | None, token: str | bool | None) -> None:
        from huggingface_hub import constants

        self.endpoint, self.token = (endpoint or constants.ENDPOINT).rstrip("/"), token
        self._infos: dict[tuple[str, str], Any] = {}

    def listing(self, part: Part) -> list[WantedFile]:
        """The wanted files of a part, as the repository has them now."""
        info = self._info(part)
        siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
        files = []
        for name in part.wanted(siblings):
            sibling = siblings[part.prefix + name]
            sha256 = part.hashes.get(name) or (sibling.lfs.sha256 if sibling.lfs else "")
            blob = "" if sha256 else sibling.blob_id or ""
            if sibling.size is None or not (sha256 or blob):
                raise WeightsError(
                    f"{self.endpoint} tells no sizes and hashes of {part.repo}; let HF_ENDPOINT name another hub"
                )
            files.append(WantedFile(name, sibling.size, sha256, blob, info.sha))
        return files

    def _info(self, part: Part) -> Any:
        from huggingface_hub import HfApi

        key = (part.repo, part.revision)
        if key not in self._infos:
            ask = HfApi(self.endpoint, token=self.token).model_info
            with self._explained(part):
                try:
                    info = ask(part.repo, revision=part.revision, files_metadata=True, timeout=_ANSWER_SECONDS)
                except (ValueError, TypeError, KeyError) as error:
                    raise WeightsError(
                        f"{self.endpoint} does not answer as a hub; check HF_ENDPOINT and the network"
                    ) from error
            self._infos[key] = info
        return self._infos[key]

    def ask_for_access(self, part: Part, file: WantedFile) -> None:
        """Raises WeightsError if the file may not be fetched (for its terms), without fetching it."""
        from huggingface_hub import get_hf_file_metadata

        with self._explained(part, file.file):
            get_hf_file_metadata(self._url(part, file), token=self.token, timeout=_ANSWER_SECONDS)

    def fetch(self, part: Part, file: WantedFile, place: Path, at: Callable[[int], None]) -> WantedFile:
        """Fetches a file, or the rest of it, and gives it its real name if its content is right.

        ``at`` is called with the size it has reached. Raises WeightsError if the content is wrong; then it is removed.
        """
        partial, path = file.partial(place), place / file.file
        make_folder(path.parent)
        for old in path.parent.glob(f".{path.name}.*.part"):
            if old != partial or old.stat().st_size > file.bytes:
                old.unlink()
        with self._explained(part, file.file, place):
            self._grow(part, file, partial, at)
            if not is_content(partial, file):
                partial.unlink()
                raise WeightsError(
                    f"{part.repo}/{part.prefix}{file.file} arrived damaged (another hash than the hub's) and was "
                    f"removed; fetch it again: happyhorse pull {part.name}"
                )
            os.replace(partial, path)
        return dataclasses.replace(file, sha256=file.sha256 or file_hash(path), damaged=False)

    def _grow(self, part: Part, file: WantedFile, partial: Path, at: Callable[[int], None]) -> None:
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        with partial.open("ab") as stream, _without_bars():
            begun = stream.tell()
            if begun < file.bytes:
                headers = {**build_hf_headers(token=self.token), "Accept-Encoding": "identity"}
                counted: Any = _Counted(stream, at)
                http_get(self._url(part, file), counted, resume_size=begun, headers=headers, expected_size=file.bytes)

    def _url(self, part: Part, file: WantedFile) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(part.repo, part.prefix + file.file, revision=file.commit, endpoint=self.endpoint)

    @contextlib.contextmanager
    def _explained(self, part: Part, file: str = "", place: Path | None = None) -> Iterator[None]:
        from huggingface_hub.errors import HfHubHTTPError

        # Which HTTP library is below depends on huggingface_hub's version; its errors share this base.
        network: Any = HfHubHTTPError.__bases__[0]
        try:
            yield
        except (network, OSError) as error:
            raise self._error(error, part, file, place) from error

    def _error(self, error: BaseException, part: Part, file: str, place: Path | None) -> HappyhorseError:
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        if isinstance(error, OfflineModeIsEnabled):
            return WeightsError(f"{part.repo} was not asked for, since HF_HUB_OFFLINE is set; unset it and pull again")
        if isinstance(error, HfHubHTTPError):
            return self._refusal(error, part, file)
        number = error.errno if isinstance(error, OSError) else None
        if number in _DISK_FULL:
            return WeightsError(
                f"no space left to write {file} into {place}; what was fetched is kept: make room and pull again"
            )
        if number is not None and place is not None and not isinstance(error, ConnectionError):
            assert isinstance(error, OSError)
            return output_error(place / file, error)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return WeightsError(
            f"the connection to {self.endpoint} failed ({reason[:120]}); check the network and HF_ENDPOINT, then pull "
            "again: what was fetched is kept"
        )

    def _refusal(self, error: Any, part: Part, file: str) -> WeightsError:
        """The hub answered, but not with what was asked for."""
        from huggingface_hub import errors, get_token

        status = error.response.status_code if error.response is not None else 0
        sent = self.token is not False and bool(self.token or get_token())
        if isinstance(error, errors.GatedRepoError):
            return WeightsError(self._gated(part, sent))
        if isinstance(error, errors.EntryNotFoundError | errors.RevisionNotFoundError):
            return WeightsError(f"{part.repo} holds no {part.prefix}{file} at {self.endpoint}; it may have been moved")
        if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
            return WeightsError(
                f"{self.endpoint} has no repository {part.repo}, or shows it to others only; check HF_ENDPOINT,\n"
                f"or visit {part.page(self.endpoint)} and log in (hf auth login, HF_TOKEN)"
            )
        if status in (401, 403) and not sent:  # a mirror may refuse without saying why
            return WeightsError(self._gated(part, sent))
        if status in (401, 403):
            return WeightsError(
                f"{self.endpoint} does not accept the token for {part.repo} ({status}); "
                "log in again (hf auth login) or mend HF_TOKEN"
            )
        return WeightsError(f"{self.endpoint} answered {status} for {part.repo}; try again later: what is here is kept")

    def _gated(self, part: Part, sent: bool) -> str:
        page = part.page(self.endpoint)
        if sent:
            return f"this account has not accepted the terms of {part.repo}, or waits for an answer:\nvisit {page}"
        return (
            f"{part.repo} is gated: accept its terms ({part.licence}) at {page},\n"
            "then log in (hf auth login) or set HF_TOKEN, and pull again"
        )


class _Counted:
    """A file that says how far it has grown; everything but ``write`` is the file's own."""

    def __init__(self, stream: BinaryIO, at: Callable[[int], None]) -> None:
        self._stream, self._at = stream, at

    def write(self, data: bytes) -> int:
        written = self._stream.write(data)
        self._at(self._stream.tell())
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Without huggingface_hub's own progress bars: whoever pulls draws one for everything."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before = are_progress_bars_disabled()
    if not before:
        disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Without huggingface_hub's telemetry: what this machine has installed is not said, nor is the hub asked for the
    list of programs that may have called us. It reads the constant at every request, so it need not be imported anew.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = before
