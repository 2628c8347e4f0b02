"""Where the clips of a suite come from: a model that makes them, or a folder of clips that anything else made.

Either way they are files, named by their case (``ball-00.mp4``, ``ball-00-image.mp4``, ``ball-00-seed-1.mp4``), and
what is measured is what is in the file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from happyhorse.clip import read_recipe
from happyhorse.codecs.media import read_mp4
from happyhorse.data.scenes.scene import FPS, SAMPLE_RATE
from happyhorse.data.scenes.speech import resample
from happyhorse.errors import HappyhorseError, MediaError
from happyhorse.evaluation.measure import Case
from happyhorse.evaluation.readings import Sample
from happyhorse.files import make_folder, whole_file
from happyhorse.sampling.given import Given, load_film, load_image, load_sound
from happyhorse.sampling.pipeline import Pipeline, Progress
from happyhorse.sampling.request import Request, make_request

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")
SHORTER = 0.1
"""Seconds that may be missing at the end of a clip; what is longer is cut."""

TIMINGS = "timings.json"

Scene = Callable[[], Sample]
"""Draws the real scene of a case, parts of which are given."""


class Source(Protocol):
    """Gives the clips of a suite."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the clips are, for the report."""
        ...

    def find(self, case: Case, take: str, scene: Scene) -> Path | None:
        """The file of a take of a case; None if there is none."""
        ...

    def timings(self) -> Mapping[str, float]:
        """Seconds that clips took to make, by the name of their file, as far as they are known."""
        ...


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a model is asked; None is the model's own default."""

    steps: int | None = None
    guidance: float | tuple[float, float] | None = None
    sampler: str | None = None
    shift: float | None = None


def given_of(take: str, scene: Scene) -> Given:
    """What of the real scene is given for a take."""
    match take:
        case "-image":
            return Given(image=load_image(scene().frames[0]))
        case "-last":
            return Given(last_image=load_image(scene().frames[-1]))
        case "-film":
            return Given(video=load_film(scene().frames))
        case "-sound":
            return Given(audio=load_sound(scene().waveform))
    return Given()


class ModelSource:
    """Makes what is not there yet. A clip that is there is used again if it was made by the same request."""

    def __init__(
        self,
        pipeline: Pipeline,
        folder: Path,
        size: tuple[int, int],
        settings: Settings | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self.pipeline, self.folder, self.size = pipeline, folder, size
        self.settings = settings or Settings()
        self.on_progress = on_progress

    @property
    def facts(self) -> dict[str, Any]:
        asked = make_request(self.pipeline.parts.sampling, "any", seed=0, **dataclasses.asdict(self.settings)).recipe()
        settings = {key: asked[key] for key in ("steps", "guidance", "sampler", "shift")}
        return {"model": self.pipeline.parts.name, "weights": self.pipeline.parts.fingerprint, **settings}

    def find(self, case: Case, take: str, scene: Scene) -> Path:
        path = self.folder / f"{case.name}{take}.mp4"
        request = self.request(case, take)
        given = given_of(take, scene)
        if not self._made(path, request, given):
            clip = self.pipeline.make(request, given, self.on_progress)
            make_folder(self.folder)
            clip.save(path, overwrite=True)
            self._note_time(path.name, sum(clip.timings.values()))
        return path

    def timings(self) -> dict[str, float]:
        """Seconds that each clip took to make, by the name of its file."""
        try:
            return dict(json.loads((self.folder / TIMINGS).read_text("utf-8")))
        except (OSError, ValueError):
            return {}

    def _note_time(self, name: str, seconds: float) -> None:
        with whole_file(self.folder / TIMINGS) as temporary:
            temporary.write_text(json.dumps({**self.timings(), name: round(seconds, 3)}, indent=1) + "\n", "utf-8")

    def request(self, case: Case, take: str) -> Request:
        """What is asked for a take of a case."""
        height, width = self.size
        return make_request(
            self.pipeline.parts.sampling,
            case.prompt,
            seconds=case.plan.seconds,
            size=(width, height),
            seed=case.seed_of(take),
            **dataclasses.asdict(self.settings),
        )

    def _made(self, path: Path, request: Request, given: Given) -> bool:
        """Whether the file holds the clip of this request."""
        try:
            recipe = read_recipe(path)
        except MediaError:
            return False
        wanted = {"weights": self.pipeline.parts.fingerprint, **request.recipe(), **given.sources()}
        return all(recipe.get(key) == value for key, value in wanted.items())


class FolderSource:
    """Clips that are there."""

    def __init__(self, folder: Path, cases: list[Case]) -> None:
        """MediaError if the folder does not exist or holds none of the suite's clips."""
        if not folder.is_dir():
            raise MediaError(f"the folder {folder} does not exist; give one that holds clips")
        self.folder = folder
        if not any(self._path(case.name + take) for case in cases for take in case.takes()):
            example = f"{cases[0].name}.mp4"
            raise MediaError(f"{folder} holds no clip of the suite; name them {example}, ... as --list says")

    @property
    def facts(self) -> dict[str, Any]:
        return {"clips": self.folder.name}

    def find(self, case: Case, take: str, scene: Scene) -> Path | None:
        return self._path(case.name + take)

    def timings(self) -> dict[str, float]:
        return {}

    def _path(self, stem: str) -> Path | None:
        paths = (self.folder / (stem + suffix) for suffix in SUFFIXES)
        return next((path for path in paths if path.is_file()), None)


def read_sample(path: Path, seconds: float) -> Sample:
    """A file as it is measured: 24 frames a second, cut to ``seconds``, its sound mixed to one channel at 24 kHz.

    Raises MediaError for a file that is damaged or silent by lack of a track, that has another frame rate (whose
    frames would have to be made up), or that is too short.
    """
    clip = read_mp4(path)
    if abs(clip.fps - FPS) > 0.01:
        raise MediaError(f"{path.name} has {clip.fps:g} frames a second; the suite is measured at {FPS}")
    lasts = min(len(clip.frames) / FPS, clip.audio.shape[1] / clip.sample_rate)
    if lasts < seconds - SHORTER:
        raise MediaError(f"{path.name} lasts {lasts:.2f} s; the suite asks for {seconds:g} s")
    sound = clip.audio.mean(axis=0)
    if clip.sample_rate != SAMPLE_RATE:
        sound = resample(torch.from_numpy(sound), clip.sample_rate, SAMPLE_RATE).numpy()
    return Sample(clip.frames[: round(seconds * FPS)], sound[: round(seconds * SAMPLE_RATE)])


def read_samples(paths: Mapping[str, Path | None], seconds: float) -> tuple[dict[str, Sample], dict[str, str]]:
    """The clips that can be measured, by take, and why the others cannot, by take."""
    samples, skipped = {}, {}
    for take, path in paths.items():
        if path is None:
            skipped[take] = "no such clip"
            continue
        try:
            samples[take] = read_sample(path, seconds)
        except HappyhorseError as error:
            skipped[take] = str(error)
    return samples, skipped
