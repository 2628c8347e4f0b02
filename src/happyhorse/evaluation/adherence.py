"""Is what was asked for there? Small classifiers that read an attribute from a clip, fitted on real scenes.

A probe is a multinomial logistic regression. The picture is told by the mean and the standard deviation over time of a
16 x 16 picture, the sound by those of its log-mel bands. ``instruments.py`` fits one for each attribute and medium.

Shapes: frames uint8 [F, height, width, 3]; waveform [S] at 24 kHz; features [N, D] float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from happyhorse.codecs import mel

CELLS = 16

# ------------------------------------------------------------------------------------------------------------- features


def cells(frames: NDArray[np.uint8], count: int) -> Tensor:
    """The central square of each frame on a ``count`` x ``count`` grid, [F, 3, count, count] in 0..1.

    Scenes are drawn around the middle in units of the shorter side: the square shows the same at any aspect.
    """
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(np.ascontiguousarray(frames[:, top : top + side, left : left + side]))
    return F.adaptive_avg_pool2d(square.permute(0, 3, 1, 2).float() / 255, count)


def picture_features(frames: NDArray[np.uint8]) -> Tensor:
    """Mean and standard deviation over time of the picture on a 16 x 16 grid, [1536]."""
    grid = cells(frames, CELLS)
    return torch.cat([grid.mean(dim=0).flatten(), grid.std(dim=0).flatten()])


def sound_features(waveform: NDArray[np.floating]) -> Tensor:
    """Mean and standard deviation over time of 80 log-mel bands, [160]."""
    samples = torch.from_numpy(np.asarray(waveform, np.float32))
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


PENALTY = 3e-3
"""Weight of the squared coefficients in the loss."""
STIFFNESS = 30.0
"""Scale of the coefficients against the penalty: attributes that are a small part of the picture need large ones."""


def fit_probe(features: Tensor, labels: Sequence[str], values: tuple[str, ...]) -> Probe:
    """Logistic regression of ``labels`` [N] on ``features`` [N, D], by L-BFGS in double precision.

    Coefficients lie in the span of the samples, so the fit is done in its (at most N) principal directions.
    """
    mean = features.mean(dim=0)
    centred = (features - mean).double()
    directions = torch.linalg.svd(centred, full_matrices=False)[2]
    scale = STIFFNESS / centred.square().sum(dim=1).mean().sqrt().clamp(min=1e-9)
    inputs = centred @ directions.T * scale
    targets = torch.tensor([values.index(label) for label in labels])
    weight = torch.zeros(len(values), inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(values), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(inputs @ weight.T + bias, targets) + PENALTY * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    return Probe(values, mean, (weight.detach() * scale @ directions).float(), bias.detach().float())
