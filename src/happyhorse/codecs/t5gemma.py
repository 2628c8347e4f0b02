"""The frozen text encoder of the 15.3 B model: the encoder half of T5Gemma (google/t5gemma-9b-9b-ul2) by transformers.

Its attention looks both ways. By its configuration it caps its scores softly, 50 tanh(score / 50), but the published
pipeline runs without: transformers 4.56, which it pins, takes torch's fast attention by default, and that leaves the
cap out. So does this module, to give the same numbers, unless it is asked for ``soft_capping``. The plain attention
serves both ways; the fast one cannot cap.

Shapes: ids [1, L]; features [B, L, 3584].
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from happyhorse.errors import ConfigError, MissingToolError, PromptError, WeightsError
from happyhorse.types import Text

TOKEN_LIMIT = 640
"""Most tokens that a prompt may have. The published pipeline drops the rest without a word."""


class PromptTokenizer(Protocol):
    """What is asked of the tokenizer of transformers: a mapping with the prompt's ``input_ids``."""

    def __call__(self, text: str, /) -> Mapping[str, Any]: ...


class T5GemmaText:
    """Prompts to features of the encoder, one prompt at a time, so that what stands beside it never changes them."""

    def __init__(self, tokenizer: PromptTokenizer, encoder: nn.Module) -> None:
        """``encoder`` as ``build_encoder`` makes it, with its weights."""
        self.tokenizer = tokenizer
        self.encoder: Any = encoder

    def batch(self, prompts: Sequence[str]) -> Text:
        """Features [B, L, C] in float32, zero past each prompt's length, on the encoder's device.

        Raises PromptError for a prompt of more than ``TOKEN_LIMIT`` tokens, or whose features float16 cannot hold.
        """
        assert prompts, "no prompt"
        rows = [self.features(ids) for ids in [self.ids(prompt) for prompt in prompts]]
        lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
        return Text(pad_sequence(rows, batch_first=True), lengths)

    def captions(self, texts: Sequence[str]) -> Text:
        """Raises ConfigError: features are read, never written."""
        raise ConfigError("captions need a model that reads tokens; this one reads the features of a frozen encoder")

    def ids(self, prompt: str) -> list[int]:
        """Token ids of a prompt with the marks that the tokenizer adds. Raises PromptError if there are too many."""
        ids = list(self.tokenizer(prompt)["input_ids"])
        if len(ids) > TOKEN_LIMIT:
            raise PromptError(f"the prompt has {len(ids)} tokens and the limit is {TOKEN_LIMIT}; say it in fewer words")
        if not ids:
            raise PromptError("the prompt is empty; say what is to be seen and heard")
        return ids

    @torch.no_grad()
    def features(self, ids: Sequence[int]) -> Tensor:
        """Last hidden state [L, C] of one prompt, rounded through float16 as the published pipeline does; float32."""
        weight = next(self.encoder.parameters())
        tokens = torch.tensor([list(ids)], device=weight.device)
        masks = attention_masks(len(ids), self.encoder.encoder.config.sliding_window, weight)
        rounded = self.encoder(input_ids=tokens, attention_mask=masks).last_hidden_state[0].half()
        if not rounded.isfinite().all():
            raise PromptError("the features of the prompt exceed 65,504, the limit of float16; say it in other words")
        return rounded.float()


def attention_masks(length: int, window: int, like: Tensor) -> dict[str, Tensor | None]:
    """What is added to the scores [1, 1, L, L], by kind of layer; a sliding one sees |i - j| < window.

    In the dtype and on the device of ``like``. The same with soft capping and without, since they are added after the
    cap. Made here because versions of transformers differ by one about the window: |i - j| < window up to 4.56 at
    least, |i - j| <= window in 5.24.
    """
    if length <= window:
        return {"full_attention": None, "sliding_attention": None}
    place = torch.arange(length, device=like.device)
    far = (place[:, None] - place[None, :]).abs() >= window
    hidden = torch.zeros(length, length, dtype=like.dtype, device=like.device)
    return {
        "full_attention": None,
        "sliding_attention": hidden.masked_fill(far, torch.finfo(like.dtype).min)[None, None],
    }


def build_encoder(
    config: Mapping[str, Any] | Path | str,
    device: torch.device | str = "meta",
    dtype: torch.dtype = torch.bfloat16,
    soft_capping: bool = False,
) -> nn.Module:
    """The encoder half alone, with random weights, or on the meta device none at all.

    ``config`` is what the repository's config.json says, or its path. Its soft cap of attention scores is left out, as
    the published pipeline does (transformers 4.56, default attention), unless ``soft_capping``. The rotary frequencies,
    which no file holds, are real float32 numbers in any case, see ``restore_rotary``. Raises WeightsError if the
    configuration is not one of a T5Gemma, MissingToolError without transformers.
    """
    try:
        from transformers import T5GemmaConfig, T5GemmaEncoderModel
    except ImportError as error:
        raise MissingToolError(
            "the text encoder needs transformers 4.54 or newer: pip install -U 'happyhorse[magihuman]'"
        ) from error
    half = dict(encoder_config(config))
    if not soft_capping:
        half["attn_logit_softcapping"] = None
    settings: dict[str, Any] = {"is_encoder_decoder": False, "attn_implementation": "eager"}
    if "vocab_size" in half:  # transformers 4 gives both halves the one that is said of the whole
        settings["vocab_size"] = half["vocab_size"]
    whole = T5GemmaConfig(encoder=half, decoder=dict(half), **settings)
    with torch.device(device):
        encoder: Any = T5GemmaEncoderModel(whole)
    encoder.to(dtype).eval().requires_grad_(False)
    restore_rotary(encoder, "cpu" if torch.device(device).type == "meta" else device)
    return encoder


def encoder_config(config: Mapping[str, Any] | Path | str) -> Mapping[str, Any]:
    """The part of config.json that is about the encoder. Raises WeightsError if there is none."""
    if not isinstance(config, Mapping):
        try:
            config = json.loads(Path(config).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(f"{config} cannot be read as JSON ({error}); get it again") from error
    encoder = config.get("encoder") if isinstance(config, Mapping) else None
    if not isinstance(encoder, Mapping):
        raise WeightsError('the text encoder\'s config.json has no field "encoder"; it is not that of a T5Gemma')
    return encoder


def restore_rotary(encoder: nn.Module, device: torch.device | str) -> None:
    """Makes the rotary frequencies anew on ``device``, in float32.

    They are buffers that no state dict holds: a module built on the meta device has none, and one that was cast to
    bfloat16 has lost half their digits.
    """
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if "inv_freq" in dict(child.named_buffers(recurse=False)):
                with torch.device("cpu"):
                    setattr(parent, name, type(child)(child.config).to(device))  # type: ignore[call-arg]


def t5gemma_names(names: Iterable[str]) -> dict[str, str]:
    """Names of a T5Gemma checkpoint to names in the encoder's state dict; the decoder's are left out.

    Raises WeightsError for a name that belongs to neither.
    """
    found = {}
    for name in names:
        own = name.removeprefix("model.")
        if own.startswith("encoder."):
            found[name] = own
        elif not own.startswith(("decoder.", "lm_head.")):
            raise WeightsError(f"{name} is no tensor of a T5Gemma; the files wanted are those of its repository")
    return found
