"""Known latents: whatever part of a clip is given, clean, so that the rest is generated around it.

An image to start from is "video frame 0 is known"; a last frame, a sound track, a silent film or the beginning of a
clip are other masks of the same kind. Build from ``nothing`` and add what is given.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from happyhorse.codecs.codec import VideoCoder
from happyhorse.codecs.images import fit_image
from happyhorse.types import SPACE_STRIDE, TIME_STRIDE, Known, Latents


def nothing(like: Latents) -> Known:
    """No part is known, for latents of the shape of ``like``."""
    batch, _, frames = like.video.shape[:3]
    device = like.video.device
    return Known(
        like.map(torch.zeros_like),
        torch.zeros(batch, frames, dtype=torch.bool, device=device),
        torch.zeros(like.audio.shape[:2], dtype=torch.bool, device=device),
    )


def with_video(known: Known, latent: Tensor, start: int = 0) -> Known:
    """``known`` with the latent frames [B, C, n, H, W] given from ``start`` on (negative counts from the end)."""
    video, mask = known.latents.video.clone(), known.video_mask.clone()
    rows = _rows(start, latent.shape[2], video.shape[2])
    video[:, :, rows], mask[:, rows] = latent.to(video), True
    return dataclasses.replace(known, latents=Latents(video, known.latents.audio), video_mask=mask)


def with_audio(known: Known, latent: Tensor, start: int = 0) -> Known:
    """``known`` with the audio latents [B, n, C] given from ``start`` on (negative counts from the end)."""
    audio, mask = known.latents.audio.clone(), known.audio_mask.clone()
    rows = _rows(start, latent.shape[1], audio.shape[1])
    audio[:, rows], mask[:, rows] = latent.to(audio), True
    return dataclasses.replace(known, latents=Latents(known.latents.video, audio), audio_mask=mask)


def _rows(start: int, count: int, total: int) -> slice:
    start = start + total if start < 0 else start
    assert start >= 0 and start + count <= total, f"{count} latents from {start} on do not fit into {total}"
    return slice(start, start + count)


def with_image(known: Known, image: NDArray[np.uint8], codec: VideoCoder) -> Known:
    """``known`` with an RGB image [rows, columns, 3] as the first frame, cropped and resized to the picture."""
    return with_video(known, _still(known, image, codec, frames=1))


def with_last_image(known: Known, image: NDArray[np.uint8], codec: VideoCoder) -> Known:
    """``known`` with an RGB image as the last latent frame, whose four frames all show it."""
    return with_video(known, _still(known, image, codec, frames=1 + TIME_STRIDE)[:, :, -1:], start=-1)


def _still(known: Known, image: NDArray[np.uint8], codec: VideoCoder, frames: int) -> Tensor:
    """Latents of a picture that stands still, for every clip of the batch."""
    height, width = (SPACE_STRIDE * side for side in known.latents.video.shape[3:])
    still = np.repeat(fit_image(image, height, width)[None], frames, axis=0)
    latent = codec.encode(picture(still).to(known.latents.video.device))
    return latent.expand(known.latents.video.shape[0], -1, -1, -1, -1)


def picture(frames: NDArray[np.uint8]) -> Tensor:
    """Frames uint8 [F, height, width, 3] as the codec reads them: [1, 3, F, height, width] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def pixels(picture: Tensor) -> NDArray[np.uint8]:
    """Inverse of ``picture`` for one clip [1, 3, F, height, width]: uint8 [F, height, width, 3]."""
    assert picture.shape[0] == 1, "one clip at a time"
    levels = ((picture[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(1, 2, 3, 0).contiguous().cpu().numpy()
