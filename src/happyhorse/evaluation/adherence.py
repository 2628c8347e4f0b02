"""Is what was asked for there? A probe for every attribute that a prompt can name, trained on real scenes.

A probe is a small multinomial logistic regression. The picture is told by the mean and the standard deviation over time
of a 16 x 16 picture, the sound by those of its log-mel bands. Each attribute gets a probe for either medium; a medium in
which real scenes cannot be told apart (a colour has no sound) shows itself by its validation, and is not used.

Shapes: frames uint8 [F, height, width, 3]; waveform [S] at 24 kHz; features [N, D] float32.
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
from safetensors.torch import save_file
from torch import Tensor

from happyhorse.codecs import mel
from happyhorse.config import Config
from happyhorse.data.scenes.scene import FPS, Canvas, Plan
from happyhorse.data.scenes.world import FAMILIES, render, sample_plan
from happyhorse.files import whole_file

Progress = Callable[[int, int], None]

CELLS = 16
MEDIA = ("picture", "sound")
TRUSTED = 0.98
"""Share of held-out real scenes that a probe must get right before it may judge a model."""
LEFT_OUT = ("language", "sentence")
"""Attributes that a mean over time cannot tell; ``speech.py`` hears them."""


@dataclasses.dataclass(frozen=True)
class ProbeTraining(Config):
    """How the probes are made."""

    seconds: float = 5.0
    """Length of the scenes; the clips to be judged should be as long."""
    pixels: int = 48
    """Side of the square scenes; a multiple of the 16 cells keeps their edges clean."""
    train: int = 160
    """Scenes of each family to learn from, every sixth of them of a held-out combination."""
    valid: int = 48
    """Other scenes of each family to be judged by: as many again of either split."""
    seed: int = 7_000_000
    """First seed; far from those of other uses."""
    penalty: float = 3e-3
    """Weight of the squared coefficients in the loss."""


# ------------------------------------------------------------------------------------------------------------- features


def picture_features(frames: NDArray[np.uint8]) -> Tensor:
    """Mean and standard deviation over time of the central square on a 16 x 16 grid, [1536], from 0..1 colours."""
    side = min(frames.shape[1:3])
    top, left = (frames.shape[1] - side) // 2, (frames.shape[2] - side) // 2
    square = torch.from_numpy(np.ascontiguousarray(frames[:, top : top + side, left : left + side]))
    cells = F.adaptive_avg_pool2d(square.permute(0, 3, 1, 2).float() / 255, CELLS)
    return torch.cat([cells.mean(dim=0).flatten(), cells.std(dim=0).flatten()])


def sound_features(waveform: NDArray[np.floating] | Tensor) -> Tensor:
    """Mean and standard deviation over time of 80 log-mel bands, [160], from a waveform [S]."""
    samples = torch.as_tensor(waveform).float()
    bands = mel.log_mel(samples[None, : len(samples) - len(samples) % mel.HOP])[0]
    return torch.cat([bands.mean(dim=1), bands.std(dim=1)]) / 4  # about as wide as the picture's


# --------------------------------------------------------------------------------------------------------------- probes


@dataclasses.dataclass(frozen=True)
class Probe:
    """A fitted classifier of one attribute in one medium."""

    values: tuple[str, ...]
    """Its classes, in the order of its outputs."""
    mean: Tensor
    """[D], taken away from the features."""
    weight: Tensor
    """[V, D]"""
    bias: Tensor
    """[V]"""

    def __call__(self, features: Tensor) -> list[str]:
        """The most likely value for each row of ``features`` [N, D]."""
        best = ((features - self.mean) @ self.weight.T + self.bias).argmax(dim=1)
        return [self.values[index] for index in best.tolist()]


def fit_probe(features: Tensor, labels: Sequence[str], values: tuple[str, ...], penalty: float) -> Probe:
    """Logistic regression of ``labels`` [N] on ``features`` [N, D], by L-BFGS in double precision.

    Coefficients lie in the span of the samples, so the fit is done in its (at most N) principal directions.
    """
    mean = features.mean(dim=0)
    centred = (features - mean).double()
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    inputs = centred @ directions.T
    scale = inputs.square().sum(dim=1).mean().sqrt()
    targets = torch.tensor([values.index(label) for label in labels])
    weight = torch.zeros(len(values), inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(values), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(inputs / scale @ weight.T * STIFFNESS + bias, targets) + penalty * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    coefficients = weight.detach() * STIFFNESS / scale @ directions
    return Probe(values, mean, coefficients.float(), bias.detach().float())


STIFFNESS = 30.0
"""Scale of the coefficients against the penalty: attributes that are a small part of the picture need large ones."""


@dataclasses.dataclass(frozen=True)
class Validation(Config):
    """How a probe does on real scenes that it has not seen."""

    trained: float
    """Share right among combinations of the training split."""
    held_out: float
    """Share right among combinations that are never trained on."""
    scenes: int
    """Scenes in each of the two."""

    @property
    def trusted(self) -> bool:
        return min(self.trained, self.held_out) >= TRUSTED


Key = tuple[str, str, str]
"""Family, attribute, medium."""


@dataclasses.dataclass(frozen=True)
class Probes:
    """All probes, with what is known of them."""

    probes: Mapping[Key, Probe]
    validations: Mapping[Key, Validation]

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


def probe_keys() -> list[Key]:
    """Every family, attribute and medium there is a probe for."""
    return [
        (name, attribute, medium)
        for name, family in FAMILIES.items()
        for attribute in family.attributes
        if attribute not in LEFT_OUT
        for medium in MEDIA
    ]


# ------------------------------------------------------------------------------------------------------------- training


def train_probes(training: ProbeTraining, progress: Progress | None = None) -> Probes:
    """Renders real scenes, fits every probe and validates it. Deterministic."""
    probes: dict[Key, Probe] = {}
    validations: dict[Key, Validation] = {}
    each = training.train + 2 * training.valid
    for number, name in enumerate(FAMILIES):
        plans = probe_plans(training, name)

        def count(done: int, before: int = number * each) -> None:
            if progress:
                progress(before + done, each * len(FAMILIES))

        features = _features(plans, training, count)
        for key in probe_keys():
            if key[0] == name:
                probes[key], validations[key] = _fit_and_validate(key, plans, features[key[2]], training)
    return Probes(probes, validations)


def probe_plans(training: ProbeTraining, family: str) -> list[Plan]:
    """Scenes to learn from, then those to validate on: first of the training split, then held-out ones.

    A ruler must know every combination about as often as chance has it. One that never saw a red ball on metal learns
    that metal speaks against red: it read 21 % of the held-out combinations of real scenes wrongly.
    """
    learn = ["held_out" if index % 6 == 5 else "train" for index in range(training.train)]
    splits = learn + ["train"] * training.valid + ["held_out"] * training.valid
    return [sample_plan(training.seed + index, training.seconds, split, family) for index, split in enumerate(splits)]


def _features(plans: Sequence[Plan], training: ProbeTraining, progress: Callable[[int], None]) -> dict[str, Tensor]:
    """Features of each medium, [N, D]."""
    rows: dict[str, list[Tensor]] = {medium: [] for medium in MEDIA}
    for frames, waveform in real_clips(plans, training.pixels, training.pixels):
        rows["picture"].append(picture_features(frames))
        rows["sound"].append(sound_features(waveform))
        progress(len(rows["sound"]))
    return {medium: torch.stack(found) for medium, found in rows.items()}


def real_clips(
    plans: Sequence[Plan], height: int, width: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Frames [F, height, width, 3] and waveform [S] of each plan, drawn eight at a time."""
    for start in range(0, len(plans), 8):
        some = plans[start : start + 8]
        images, waves = render(some, Canvas(round(some[0].seconds * FPS), height, width))
        bytes_ = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous().numpy()
        yield from zip(bytes_, waves.numpy(), strict=True)


def _fit_and_validate(
    key: Key, plans: Sequence[Plan], features: Tensor, training: ProbeTraining
) -> tuple[Probe, Validation]:
    family, attribute, _ = key
    labels = [plan.attributes[attribute] for plan in plans]
    learn, trained = training.train, training.train + training.valid
    probe = fit_probe(features[:learn], labels[:learn], FAMILIES[family].attributes[attribute], training.penalty)
    right = [seen == label for seen, label in zip(probe(features[learn:]), labels[learn:], strict=True)]
    half = trained - learn
    return probe, Validation(sum(right[:half]) / half, sum(right[half:]) / half, half)


# ---------------------------------------------------------------------------------------------------------------- cache


def cached_probes(training: ProbeTraining, folder: Path | None = None, progress: Progress | None = None) -> Probes:
    """The probes of ``training`` from a file in ``folder`` (default: the user's cache), made and kept if it is not there.

    The file's name holds a fingerprint of the scenes: probes of scenes that are drawn otherwise now are not used.
    """
    folder = folder or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "happyhorse"
    path = folder / f"probes-{fingerprint(training)}.safetensors"
    try:
        return load_probes(path)
    except (OSError, SafetensorError, KeyError, ValueError):  # none yet, or one that was left damaged: made again
        probes = train_probes(training, progress)
        folder.mkdir(parents=True, exist_ok=True)
        save_probes(probes, path)
        return probes


def fingerprint(training: ProbeTraining) -> str:
    """Sixteen hex digits that change with the settings, the attributes, the features, or what one scene of each looks like."""
    plans = [sample_plan(training.seed, training.seconds, "train", name) for name in FAMILIES]
    digest = hashlib.sha256(json.dumps([training.to_dict(), probe_keys(), STIFFNESS]).encode())
    for frames, waveform in real_clips(plans, training.pixels, training.pixels):
        for features in (picture_features(frames), sound_features(waveform)):
            digest.update((features * 200).round().to(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def save_probes(probes: Probes, path: Path) -> None:
    """Writes probes as safetensors, whole or not at all."""
    tensors = {
        "/".join((*key, part)): getattr(probe, part)
        for key, probe in probes.probes.items()
        for part in ("mean", "weight", "bias")
    }
    facts = {
        "/".join(key): {"values": probe.values, "validation": probes.validations[key].to_dict()}
        for key, probe in probes.probes.items()
    }
    with whole_file(path) as temporary:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            str(temporary),
            {"probes": json.dumps(facts)},
        )


def load_probes(path: Path) -> Probes:
    """The inverse of ``save_probes``. Raises OSError, SafetensorError, KeyError or ValueError if it holds no probes."""
    with safe_open(str(path), "pt") as file:
        facts = json.loads(file.metadata()["probes"])
        probes, validations = {}, {}
        for name, fact in facts.items():
            family, attribute, medium = name.split("/")
            parts = [file.get_tensor(f"{name}/{part}") for part in ("mean", "weight", "bias")]
            probes[family, attribute, medium] = Probe(tuple(fact["values"]), *parts)
            validations[family, attribute, medium] = Validation.from_dict(fact["validation"])
    return Probes(probes, validations)
