"""What a run measures: loss by modality and noise level, gradient norm, speed; kept on the device until it is read."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from happyhorse.files import whole_file
from happyhorse.training.losses import Example
from happyhorse.types import Latents

BUCKETS = 4


class Meters:
    """Sums since the last reading; nothing here waits for the device before ``read``."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = device
        self._reset()

    def _reset(self) -> None:
        self._sums = torch.zeros(2, BUCKETS, device=self._device)
        self._counts = torch.zeros(2, BUCKETS, device=self._device)
        self._totals = torch.zeros(2, device=self._device)
        self._words: list[Tensor] = []
        self.steps, self._samples, self._tokens, self._started = 0, 0, 0, time.monotonic()

    @torch.no_grad()
    def add(
        self, example: Example, losses: Latents, loss: Tensor, gradient_norm: Tensor, words: Tensor | None = None
    ) -> None:
        """One step: its example, the losses [B] of each modality, the loss, the gradient's norm, that of captions."""
        streams = zip(
            (losses.video, losses.audio),
            (example.times.video, example.times.audio),
            (example.unknown.video, example.unknown.audio),
            strict=True,
        )
        for index, (values, times, unknown) in enumerate(streams):
            counted = unknown.flatten(1).amax(1)  # a modality that was given as a whole has no loss to speak of
            buckets = (times * BUCKETS).long().clamp(0, BUCKETS - 1)
            self._sums[index].index_add_(0, buckets, values.detach() * counted)
            self._counts[index].index_add_(0, buckets, counted)
        self._totals += torch.stack([loss, gradient_norm])
        self._words += [] if words is None else [words]
        video = example.noisy.video
        self.steps += 1
        self._samples += len(video)
        self._tokens += len(video) * (video[0, 0].numel() // 4 + example.noisy.audio.shape[1])

    def read(self) -> dict[str, float]:
        """Means since the last reading.

        "loss", "gradient_norm", "video", "audio", each modality's loss by quarter of the noise level ("video_0" for t
        below 1/4 ... "audio_3"), "captions" if they are learned, "samples_per_second", "tokens_per_second".
        """
        loss, norm = (self._totals / max(1, self.steps)).tolist()
        figures = {"loss": loss, "gradient_norm": norm}
        rows = zip(("video", "audio"), self._sums.cpu(), self._counts.cpu(), strict=True)
        for name, sums, counts in rows:
            figures[name] = float(sums.sum() / counts.sum())
            figures |= {f"{name}_{bucket}": value for bucket, value in enumerate((sums / counts).tolist())}
        if self._words:
            figures["captions"] = torch.stack(self._words).mean().item()
        seconds = max(1e-9, time.monotonic() - self._started)
        figures["samples_per_second"] = self._samples / seconds
        figures["tokens_per_second"] = self._tokens / seconds
        self._reset()
        return figures


def trim_records(path: Path, step: int) -> None:
    """Drops the records after ``step``: those steps are done again."""
    if path.exists():
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if json.loads(line)["step"] <= step]
        with whole_file(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def append_record(path: Path, record: dict[str, float | int]) -> None:
    """One JSON line; a figure that is not a number (an empty bucket) is null."""
    clean = {key: value if math.isfinite(value) else None for key, value in record.items()}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(clean) + "\n")
