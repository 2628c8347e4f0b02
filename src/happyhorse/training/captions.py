"""Clip in, words out (Zhou et al. 2024, "Transfusion", arXiv 2408.11039): the loss of captions.

The clip's rows come first and see each other only; the caption's words follow, each seeing the whole clip and the words
before it. Clips are a little noisy, so that generated ones are read as well.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from happyhorse.codecs.codec import TextCoder
from happyhorse.data.batch import Batch, seeded
from happyhorse.flow import path
from happyhorse.recipes.recipe import TrainConfig
from happyhorse.training.noise import draw_noise
from happyhorse.types import Latents, Text


def caption_loss(model: Any, batch: Batch, text: TextCoder, config: TrainConfig, step: int) -> Tensor | None:
    """Mean cross-entropy of the captions of a batch; None in a step that does not learn them."""
    rng = seeded("captions", config.seed, step)
    if not batch.captions or rng.random() >= config.captions.share:
        return None
    device = batch.latents.video.device
    generator = torch.Generator(device).manual_seed(rng.getrandbits(63))
    words = text.captions(batch.captions).padded(config.text_multiple).to(device)
    return cross_entropy(model, noised(batch.latents, config.captions.noise, generator), words)


def noised(clean: Latents, highest: float, generator: torch.Generator) -> Latents:
    """Clips at random levels up to ``highest``, the same for both streams; ``generator`` is on their device."""
    times = torch.rand(len(clean.video), generator=generator, device=generator.device) * highest
    return clean.zip(draw_noise(clean, generator), lambda x, e: path.noisy(x, e, times))


def cross_entropy(model: Any, clips: Latents, words: Text) -> Tensor:
    """Mean over all true tokens but the first, each guessed from the clip and the tokens before it."""
    logits, _ = model.caption_logits(words.values, model.encode_media(clips))
    goal = F.pad(words.values[:, 1:], (0, 1))
    places = torch.arange(1, goal.shape[1] + 1, device=words.lengths.device)
    goal = goal.masked_fill(places >= words.lengths[:, None], -100)
    return F.cross_entropy(logits.flatten(0, 1), goal.flatten(), ignore_index=-100)
