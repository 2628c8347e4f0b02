"""How near the whole of what is made is to the whole of what is real: Fréchet distances on named embeddings.

The embeddings are the foal's own codec latents, so nothing has to be downloaded: they tell the foal's world finely and
say little about anything else. A distance grows with fewer clips, so it means something only beside the distance of as
many other real scenes ("real") and of real scenes through the codecs.

Shapes: frames uint8 [F, height, width, 3], waveforms [S] at 24 kHz, features [N, D] float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyloudnorm
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor

from happyhorse.codecs.codec import Codecs
from happyhorse.data.scenes.scene import SAMPLE_RATE

Features = NDArray[np.float64]
Frames = NDArray[np.uint8]

WINDOW = 6
"""Frames (a quarter of a second) of sound that make one sample."""

GATE = -70.0
"""LUFS below which nothing counts as sound."""


@torch.inference_mode()
def picture_features(codecs: Codecs, frames: Frames) -> Features:
    """Embedding "foal-picture-latents": mean and deviation over the picture of the 48 latent channels of each latent
    frame, [T, 96]; frames that fill no latent frame are left out."""
    whole = (len(frames) - 1) // 4 * 4 + 1
    pixels = torch.from_numpy(np.ascontiguousarray(frames[:whole])).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    latent = codecs.video.encode(pixels)[0]  # [48, T, h, w]
    return _numpy(torch.cat([latent.mean(dim=(2, 3)), latent.std(dim=(2, 3))]).T)


@torch.inference_mode()
def sound_features(codecs: Codecs, waveform: NDArray[np.floating]) -> Features:
    """Embedding "foal-sound-latents": mean and deviation of the 64 latent channels in each quarter second, [N, 128]."""
    step = SAMPLE_RATE // 24
    whole = len(waveform) // (WINDOW * step) * WINDOW * step
    latent = codecs.audio.encode(torch.from_numpy(np.asarray(waveform[:whole], np.float32))[None])[0]  # [F, 64]
    windows = latent.unflatten(0, (-1, WINDOW))
    return _numpy(torch.cat([windows.mean(dim=1), windows.std(dim=1)], dim=1))


def frechet_distance(one: Features, other: Features) -> float:
    """Fréchet distance of the Gaussians that fit two sets [N, D] and [M, D] (Dowson and Landau 1982).

    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``; the trace of the root is the sum of the roots of the eigenvalues of
    ``C1^(1/2) C2 C1^(1/2)``, which is symmetric.
    """
    difference = one.mean(axis=0) - other.mean(axis=0)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    crossed = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum()
    return float(difference @ difference + np.trace(first) + np.trace(second) - 2 * crossed)


def frechet_interval(
    one: Sequence[Features], other: Sequence[Features], groups: int = 10
) -> tuple[float, float, float]:
    """(distance, low, high) between two sets of clips, each a set of features.

    The distance grows as clips get fewer, so drawing clips with replacement would not bracket it: the 95 % interval is
    that of the jackknife over ``groups`` of clips left out in turn, of both sets alike (Efron and Tibshirani 1993,
    chapter 11). As many clips in both.
    """
    groups = min(groups, len(one))
    distance = frechet_distance(np.concatenate(one), np.concatenate(other))
    if groups < 2:
        return distance, distance, distance
    left = []
    for group in range(groups):
        kept = [index for index in range(len(one)) if index % groups != group]
        left.append(frechet_distance(*(np.concatenate([clips[index] for index in kept]) for clips in (one, other))))
    reach = 1.96 * np.sqrt((groups - 1) * np.var(left))
    return distance, max(0.0, distance - float(reach)), distance + float(reach)


def spread(clips: Sequence[Features]) -> float:
    """Mean distance of two clips of one prompt, each as the mean of its features: how much the seed decides."""
    means = np.stack([features.mean(axis=0) for features in clips])
    pairs = [np.linalg.norm(a - b) for index, a in enumerate(means) for b in means[:index]]
    return float(np.mean(pairs))


def lufs(waveform: NDArray[np.floating]) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4); -70, its gate, for what is quieter or too short to have one."""
    if len(waveform) < 0.4 * SAMPLE_RATE:
        return GATE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a silent clip is no mistake of the meter's
        value = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(np.asarray(waveform, np.float64))
    return max(GATE, float(value)) if np.isfinite(value) else GATE


def ssim(one: Frames, other: Frames) -> float:
    """Structural similarity of two pictures [height, width, 3] of bytes (Wang et al. 2004)."""
    value: Any = structural_similarity(one, other, channel_axis=2)  # a number unless more is asked for
    return float(value)


def _numpy(features: Tensor) -> Features:
    return features.double().cpu().numpy()
