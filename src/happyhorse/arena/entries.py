"""The models of an arena and their clips, kept in its folder.

``entries/NAME.json`` says what a model has brought; ``clips/`` and ``images/`` hold the files, each under the SHA-256
of its bytes, so that a name tells nothing and the same file is there once; ``shown/`` has what voters are given of
``clips/``. A model is in the arena when its JSON is, which is written last and whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from happyhorse.arena.clips import ClipFacts, inspect_clip
from happyhorse.arena.loudness import require_meter
from happyhorse.arena.names import check_model
from happyhorse.arena.shown import write_shown
from happyhorse.arena.submissions import Submission, read_submissions
from happyhorse.codecs.images import read_image
from happyhorse.config import Config
from happyhorse.errors import ConfigError, MediaError, OutputError
from happyhorse.files import make_folder, output_error, whole_file

ENTRIES, CLIPS, IMAGES, SHOWN = "entries", "clips", "images", "shown"

Progress = Callable[[int, int], None]
"""Told how many clips of how many were checked."""


@dataclasses.dataclass(frozen=True)
class EntryClip(Config):
    """A clip of a model, and what it was made from."""

    file: str
    """Its name in ``clips/``: SHA-256 and suffix."""
    prompt: str
    """The prompt's id: the same for the same text (and image) on the same board."""
    text: str
    board: str
    category: str
    image: str | None
    """Its name in ``images/``."""
    width: int
    height: int
    fps: float
    seconds: float
    lufs: float | None
    """Integrated loudness; None if the sound is too quiet to have one."""
    peak: float
    """The highest absolute sample."""
    gain: float
    """Decibels that bring the sound to the common loudness, or as near as its peak allows."""

    @property
    def sha256(self) -> str:
        return self.file.partition(".")[0]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model in the arena."""

    name: str
    added: float
    """When, in seconds since 1970."""
    clips: tuple[EntryClip, ...]

    def to_json(self) -> str:
        """What its file holds."""
        clips = [clip.to_dict() for clip in self.clips]
        return json.dumps({"name": self.name, "added": self.added, "clips": clips}, ensure_ascii=False, indent=1) + "\n"


class Entries:
    """The models in an arena's folder, which is made when the first one is added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, tuple[tuple[int, int], Entry]] = {}
        self._writing = threading.Lock()

    def all(self) -> list[Entry]:
        """Every model, by name. Raises MediaError if one's file is damaged."""
        return [self._entry(path) for path in sorted((self.folder / ENTRIES).glob("[!.]*.json"))]

    def clip_path(self, clip: EntryClip) -> Path:
        return self.folder / CLIPS / clip.file

    def shown_path(self, clip: EntryClip) -> Path:
        """The clip as voters are given it (see ``shown``); made the first time that it is asked for.

        Raises MediaError if the clip is missing.
        """
        path, source = self.folder / SHOWN / clip.file, self.clip_path(clip)
        if not source.is_file():
            raise MediaError(f"{source} is missing; add its model again (happyhorse arena add --overwrite)")
        with self._writing:
            if not path.exists():
                make_folder(path.parent)
                write_shown(source, path)
        return path

    def image_path(self, clip: EntryClip) -> Path | None:
        return self.folder / IMAGES / clip.image if clip.image else None

    def add(
        self,
        name: str,
        folder: Path,
        category: str | None = None,
        overwrite: bool = False,
        on_clip: Progress | None = None,
    ) -> Entry:
        """Copies a model's clips into the arena, all or none; ``folder`` and ``category`` as of ``read_submissions``.

        Every clip is decoded and measured first. Raises OutputError if the model is there already, unless it is to be
        overwritten, or if nothing can be written; MediaError, ConfigError or PromptError for what is amiss with clips;
        MissingToolError without pyloudnorm.
        """
        if self._path(check_model(name)).exists() and not overwrite:
            raise OutputError(f"{name} is in the arena already; choose another name, or replace it (--overwrite)")
        require_meter()
        submissions = read_submissions(folder, category)
        prompts = self._prompts(name, submissions)
        clips = []
        for number, (one, prompt) in enumerate(zip(submissions, prompts, strict=True), 1):
            clips.append(_entry_clip(one, prompt))
            if on_clip:
                on_clip(number, len(submissions))
        return self._keep(Entry(name, time.time(), tuple(clips)), submissions)

    def remove(self, name: str) -> Entry:
        """Takes a model out, with the clips that no other model has. Raises ConfigError if it is not there."""
        found = next((entry for entry in self.all() if entry.name == name), None)
        if found is None:
            names = ", ".join(entry.name for entry in self.all())
            raise ConfigError(f"{name[:80]!r} is not in the arena; its models are {names or 'none'}")
        try:
            self._path(name).unlink()
        except OSError as error:
            raise output_error(self._path(name), error) from error
        self._sweep(found.clips)
        return found

    def _prompts(self, name: str, submissions: Sequence[Submission]) -> list[str]:
        """The ids of the prompts. ConfigError if one comes twice, or is of another category elsewhere in the arena."""
        others = {clip.prompt: (entry, clip) for entry in self.all() if entry.name != name for clip in entry.clips}
        found: dict[str, Submission] = {}
        for one in submissions:
            prompt = prompt_id(one)
            if prompt in found:
                raise ConfigError(f"{found[prompt].path} and {one.path} have the same prompt; give one clip for each")
            if prompt in others and others[prompt][1].category != one.category:
                entry, clip = others[prompt]
                raise ConfigError(
                    f"the prompt of {one.path} has category {one.category} here and {clip.category} with {entry.name}; "
                    "give it the same one"
                )
            found[prompt] = one
        return list(found)

    def _keep(self, entry: Entry, submissions: Sequence[Submission]) -> Entry:
        """Copies the files, and then says that they are there."""
        path = self._path(entry.name)
        for kind in (ENTRIES, CLIPS, IMAGES):
            make_folder(self.folder / kind)
        before = self._entry(path).clips if path.exists() else ()
        try:
            for clip, one in zip(entry.clips, submissions, strict=True):
                _copy(one.path, self.clip_path(clip))
                self.shown_path(clip)
                if one.image and (image := self.image_path(clip)):
                    _copy(one.image, image)
            with whole_file(path) as temporary:
                temporary.write_text(entry.to_json(), "utf-8")
        finally:  # of what failed or was stopped, and of what was replaced
            self._sweep((*before, *entry.clips))
        return entry

    def _sweep(self, clips: Iterable[EntryClip]) -> None:
        """Deletes the files of ``clips`` that no model in the arena has."""
        used = {path for entry in self.all() for clip in entry.clips for path in self._files(clip)}
        for path in {path for clip in clips for path in self._files(clip)} - used:
            path.unlink(missing_ok=True)

    def _files(self, clip: EntryClip) -> list[Path]:
        image = self.image_path(clip)
        return [self.clip_path(clip), self.folder / SHOWN / clip.file, *([image] if image else [])]

    def _path(self, name: str) -> Path:
        return self.folder / ENTRIES / f"{name}.json"

    def _entry(self, path: Path) -> Entry:
        """The model of a file, which is read again only if it has changed."""
        try:
            stat = path.stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            if path not in self._read or self._read[path][0] != mark:
                self._read[path] = mark, _from_json(path.read_text("utf-8"))
            return self._read[path][1]
        except (OSError, ValueError, KeyError, TypeError) as error:  # ValueError: damaged JSON or text, unknown keys
            raise MediaError(f"{path} is damaged ({error}); delete it and add the model again") from error


def _from_json(text: str) -> Entry:
    values = json.loads(text)
    clips = tuple(EntryClip.from_dict(clip) for clip in values["clips"])
    return Entry(check_model(values["name"]), float(values["added"]), clips)


def prompt_id(one: Submission) -> str:
    """16 hex digits of what a clip was made from: board, text, and the bytes of the image."""
    image = file_hash(one.image) if one.image else None
    return hashlib.sha256(json.dumps([one.board, one.prompt, image]).encode()).hexdigest()[:16]


def _entry_clip(one: Submission, prompt: str) -> EntryClip:
    facts: ClipFacts = inspect_clip(one.path)
    image = None
    if one.image:
        read_image(one.image)
        image = file_hash(one.image) + one.image.suffix.lower()
    file = file_hash(one.path) + one.path.suffix.lower()
    return EntryClip(file, prompt, one.prompt, one.board, one.category, image, **dataclasses.asdict(facts))


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex. Raises MediaError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MediaError(f"{path} was not found or may not be read; check the path") from error


def _copy(source: Path, target: Path) -> None:
    """Copies a file to the name that says what is in it."""
    if target.exists():
        return
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)
        if file_hash(temporary) != target.stem:
            raise MediaError(f"{source} changed while it was read; add the model again when it no longer does")
