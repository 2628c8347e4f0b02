"""The instruments that are fitted on real scenes: a probe for every attribute, a step detector for those who walk.

They are made on the machine that measures, in a minute, and kept in the user's cache; nothing is shipped. Each
attribute gets a probe for the picture and one for the sound. A medium in which real scenes cannot be told apart (a
colour has no sound) shows itself on the scenes that validate the probe, which then does not judge.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from happyhorse.config import Config
from happyhorse.data.scenes.scene import FPS, Canvas, Plan
from happyhorse.data.scenes.world import FAMILIES, render, sample_plan
from happyhorse.evaluation.adherence import Probe, fit_probe, picture_features, sound_features
from happyhorse.evaluation.gait import StepDetector, fit_steps, motion
from happyhorse.evaluation.sync import match
from happyhorse.files import whole_file

Progress = Callable[[int, int], None]
Key = tuple[str, str, str]
"""Family, attribute, medium."""

MEDIA = ("picture", "sound")
TRUSTED = 0.98
"""Share of other real scenes that a probe must get right before it may judge a model."""
LEFT_OUT = ("language", "sentence")
"""Attributes that a mean over time cannot tell; ``speech.py`` hears them."""
WALKING = ("horse", "walker")
"""Families whose steps are seen by a fitted detector."""
FORMAT = 2
"""Changes when what is kept, or how it is fitted, changes."""


@dataclasses.dataclass(frozen=True)
class Fitting(Config):
    """How the instruments are made."""

    seconds: float = 5.0
    """Length of the scenes; the clips to be judged should be as long."""
    pixels: int = 48
    """Side of the square scenes; a multiple of the cells of the probes and of the step detector."""
    learn: int = 160
    """Scenes of each family to learn from, every sixth of them of a held-out combination; each is learned from as it
    is and roughened."""
    valid: int = 48
    """Other scenes of each family to validate on: as many again of held-out combinations."""
    seed: int = 700_000_000
    """First seed; far from those of other uses."""


@dataclasses.dataclass(frozen=True)
class Validation(Config):
    """How an instrument does on real scenes that it has not seen."""

    trained: float
    """Share right among combinations of the training split (for steps: F1 against the truth, within a frame)."""
    held_out: float
    """The same among combinations that are never trained on."""
    scenes: int
    """Scenes of each of the two."""

    @property
    def trusted(self) -> bool:
        return min(self.trained, self.held_out) >= TRUSTED


@dataclasses.dataclass(frozen=True)
class Fitted:
    """All fitted instruments, with what is known of them."""

    probes: Mapping[Key, Probe]
    steps: Mapping[str, StepDetector]
    """By family."""
    validations: Mapping[Key, Validation]
    """By family, attribute and medium; steps as (family, "steps", "picture")."""

    def step_detector(self, family: str) -> StepDetector | None:
        """The detector of a family's steps, if there is one and it is trusted."""
        known = family in self.steps and self.validations[family, "steps", "picture"].trusted
        return self.steps[family] if known else None

    def judge(
        self, family: str, frames: NDArray[np.uint8], waveform: NDArray[np.floating]
    ) -> dict[tuple[str, str], str]:
        """(Attribute, medium) to the value that is seen or heard in a clip, for the trusted probes of a family."""
        features = {"picture": picture_features(frames), "sound": sound_features(waveform)}
        return {
            (attribute, medium): probe(features[medium][None])[0]
            for (name, attribute, medium), probe in self.probes.items()
            if name == family and self.validations[name, attribute, medium].trusted
        }


# -------------------------------------------------------------------------------------------------------------- fitting


def fit_instruments(fitting: Fitting, progress: Progress | None = None) -> Fitted:
    """Renders real scenes, fits every instrument on them and validates it on others. Deterministic."""
    probes: dict[Key, Probe] = {}
    steps: dict[str, StepDetector] = {}
    validations: dict[Key, Validation] = {}
    each = fitting.learn + 2 * fitting.valid
    for number, family in enumerate(FAMILIES):

        def count(done: int, before: int = number * each) -> None:
            if progress:
                progress(before + done, each * len(FAMILIES))

        plans = fitting_plans(fitting, family)
        features = _features(plans, fitting, count)
        plans = plans[: fitting.learn] + plans
        for key in probe_keys(family):
            probes[key], validations[key] = _fit_probe(key, plans, torch.stack(features[key[2]]), fitting)
        if family in WALKING:
            found = _fit_steps(plans, features["motion"], fitting)
            steps[family], validations[family, "steps", "picture"] = found
    return Fitted(probes, steps, validations)


def fitting_plans(fitting: Fitting, family: str) -> list[Plan]:
    """Scenes to learn from, then those to validate on: first of the training split, then held-out ones.

    A ruler must know every combination about as often as chance has it. One that never saw a red ball on metal learns
    that metal speaks against red: it read 21 % of the held-out combinations of real scenes wrongly.
    """
    learn = ["held_out" if index % 6 == 5 else "train" for index in range(fitting.learn)]
    splits = learn + ["train"] * fitting.valid + ["held_out"] * fitting.valid
    return [sample_plan(fitting.seed + index, fitting.seconds, split, family) for index, split in enumerate(splits)]


def probe_keys(family: str) -> list[Key]:
    """Every attribute and medium of a family that there is a probe for."""
    attributes = [attribute for attribute in FAMILIES[family].attributes if attribute not in LEFT_OUT]
    return [(family, attribute, medium) for attribute in attributes for medium in MEDIA]


def real_clips(plans: Sequence[Plan], pixels: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Frames [F, pixels, pixels, 3] and waveform [S] of each plan, drawn eight at a time."""
    for start in range(0, len(plans), 8):
        some = plans[start : start + 8]
        images, waves = render(some, Canvas(round(some[0].seconds * FPS), pixels, pixels))
        levels = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous()
        yield from zip(levels.numpy(), waves.numpy(), strict=True)


def roughen(frames: NDArray[np.uint8], generator: torch.Generator) -> NDArray[np.uint8]:
    """The frames [F, height, width, 3] as a model may make them: a little blurred, with a flicker in patches."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    patches = [max(1, side // 12) for side in pixels.shape[2:]]
    strength = 12 * torch.rand(1, generator=generator)
    flicker = F.interpolate(strength * torch.randn(*pixels.shape[:2], *patches, generator=generator), pixels.shape[2:])
    blurred = F.avg_pool2d(F.pad(pixels, (1, 0, 1, 0), mode="replicate"), 2, stride=1)
    return (blurred + flicker).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _features(plans: Sequence[Plan], fitting: Fitting, progress: Callable[[int], None]) -> dict[str, list[Tensor]]:
    """What the instruments read of the picture, of the sound, and of the motion of those who walk: first of the
    roughened scenes to learn from, then of all scenes as they are."""
    names = ("picture", "sound", "motion")
    rough: dict[str, list[Tensor]] = {name: [] for name in names}
    clean: dict[str, list[Tensor]] = {name: [] for name in names}
    for number, (frames, waveform) in enumerate(real_clips(plans, fitting.pixels)):
        _read(frames, waveform, plans[number].family, clean)
        if number < fitting.learn:
            generator = torch.Generator().manual_seed(fitting.seed + number)
            _read(roughen(frames, generator), waveform, plans[number].family, rough)
        progress(number + 1)
    return {name: rough[name] + clean[name] for name in names}


def _read(
    frames: NDArray[np.uint8], waveform: NDArray[np.floating], family: str, rows: dict[str, list[Tensor]]
) -> None:
    rows["picture"].append(picture_features(frames))
    rows["sound"].append(sound_features(waveform))
    if family in WALKING:
        rows["motion"].append(motion(frames))


def _fit_probe(key: Key, plans: Sequence[Plan], features: Tensor, fitting: Fitting) -> tuple[Probe, Validation]:
    family, attribute, _ = key
    learn, labels = 2 * fitting.learn, [plan.attributes[attribute] for plan in plans]
    probe = fit_probe(features[:learn], labels[:learn], FAMILIES[family].attributes[attribute])
    right = [seen == label for seen, label in zip(probe(features), labels, strict=True)][learn:]
    trained, held_out = right[: fitting.valid], right[fitting.valid :]
    return probe, Validation(sum(trained) / len(trained), sum(held_out) / len(held_out), fitting.valid)


def _fit_steps(plans: Sequence[Plan], motions: Sequence[Tensor], fitting: Fitting) -> tuple[StepDetector, Validation]:
    learn, events = 2 * fitting.learn, [plan.truth.events for plan in plans]
    detector = fit_steps(motions[:learn], events[:learn])

    def f1(rows: slice) -> float:
        span = (2 / FPS, fitting.seconds - 2 / FPS)
        found = [match(e, detector.times(m), span=span) for e, m in zip(events[rows], motions[rows], strict=True)]
        pairs = sum(len(one.offsets) for one in found)
        return 2 * pairs / sum(one.events + one.onsets for one in found)

    trained, held_out = slice(learn, learn + fitting.valid), slice(learn + fitting.valid, None)
    return detector, Validation(f1(trained), f1(held_out), fitting.valid)


# ---------------------------------------------------------------------------------------------------------------- cache


def cached_instruments(fitting: Fitting, folder: Path | None = None, progress: Progress | None = None) -> Fitted:
    """The instruments from a file in ``folder`` (default: the user's cache); made and kept there if it is not there.

    The file's name holds a fingerprint of the scenes: instruments for scenes that are drawn otherwise now are not used.
    Raises OutputError if the folder cannot be written.
    """
    folder = folder or user_cache()
    path = folder / f"instruments-{fingerprint(fitting)}.safetensors"
    try:
        return load_fitted(path)
    except (OSError, SafetensorError, KeyError, ValueError):  # none yet, or one that was left damaged: made again
        fitted = fit_instruments(fitting, progress)
        folder.mkdir(parents=True, exist_ok=True)
        save_fitted(fitted, path)
        return fitted


def user_cache() -> Path:
    """Where what is made once on this machine is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "happyhorse"


def fingerprint(fitting: Fitting) -> str:
    """Sixteen hex digits that change with the settings, the attributes, or what one scene of each family looks like."""
    plans = [sample_plan(fitting.seed, fitting.seconds, "train", family) for family in FAMILIES]
    keys = [probe_keys(family) for family in FAMILIES]
    digest = hashlib.sha256(json.dumps([FORMAT, fitting.to_dict(), keys]).encode())
    for frames, waveform in real_clips(plans, fitting.pixels):
        for features in (picture_features(frames), sound_features(waveform)):
            digest.update((features * 200).round().to(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def save_fitted(fitted: Fitted, path: Path) -> None:
    """Writes the instruments as safetensors, whole or not at all."""
    tensors: dict[str, Tensor] = {}
    for key, probe in fitted.probes.items():
        tensors |= {"/".join((*key, part)): getattr(probe, part) for part in ("mean", "weight", "bias")}
    for family, detector in fitted.steps.items():
        parts = ("mean", "directions", "weight")
        tensors |= {f"{family}/steps/picture/{part}": getattr(detector, part) for part in parts}
    facts = {
        "/".join(key): {"values": getattr(fitted.probes.get(key), "values", None), "validation": validation.to_dict()}
        for key, validation in fitted.validations.items()
    }
    with whole_file(path) as temporary:
        temporary.write_bytes(save({name: t.contiguous() for name, t in tensors.items()}, {"f": json.dumps(facts)}))


def load_fitted(path: Path) -> Fitted:
    """The inverse of ``save_fitted``; OSError, SafetensorError, KeyError or ValueError if it holds no instruments."""
    probes: dict[Key, Probe] = {}
    steps: dict[str, StepDetector] = {}
    validations: dict[Key, Validation] = {}
    with safe_open(str(path), "pt") as file:
        for name, fact in json.loads((file.metadata() or {})["f"]).items():
            family, attribute, medium = name.split("/")
            validations[family, attribute, medium] = Validation.from_dict(fact["validation"])
            if fact["values"] is None:
                parts = [file.get_tensor(f"{name}/{part}") for part in ("mean", "directions", "weight")]
                steps[family] = StepDetector(*parts)
            else:
                parts = [file.get_tensor(f"{name}/{part}") for part in ("mean", "weight", "bias")]
                probes[family, attribute, medium] = Probe(tuple(fact["values"]), *parts)
    return Fitted(probes, steps, validations)
