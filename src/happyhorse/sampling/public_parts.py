"""Where the modules of the published models come from, and what each of them needs.

A stage's module is built on the meta device, where it has sizes but no numbers, and filled from the authors' own files
tensor by tensor. The planner reads the same modules' sizes, and dry runs tell what they take while they work.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from happyhorse.codecs.oobleck import OobleckConfig, StableAudioCodec, oobleck_names
from happyhorse.codecs.t5gemma import TOKEN_LIMIT, PromptTokenizer, build_encoder, t5gemma_names
from happyhorse.codecs.turbo import TurboConfig, TurboDecoder
from happyhorse.codecs.turbo_published import config_from_json
from happyhorse.codecs.wan import WanConfig, WanVideoCodec, wan_names
from happyhorse.config import ModelConfig
from happyhorse.errors import MissingToolError, WeightsError
from happyhorse.memory.files import file_layers
from happyhorse.memory.needs import ROWS, built_stage, default_dtype, module_stage, transformer_stage
from happyhorse.memory.plan import Plan, Room, Stage, plan
from happyhorse.memory.rows import chunk_rows, plain_name
from happyhorse.memory.stream import Stream
from happyhorse.memory.turns import HOST, Source, Turns
from happyhorse.model.quantised import KINDS, quantise
from happyhorse.model.transformer import Transformer
from happyhorse.sampling.public import CHUNK, SHIPPED, PublicIdentity, PublicPipeline
from happyhorse.sampling.public_request import PublicRequest
from happyhorse.sampling.published import BASE, DISTILL, Denoising
from happyhorse.types import ClipShape
from happyhorse.weights.convert import converted_folder, open_converted
from happyhorse.weights.formats import blank, public_transformer
from happyhorse.weights.registry import PublicWeights, public
from happyhorse.weights.stream import find_weights, open_checkpoint, stream_into

GENERATORS: Mapping[str, Denoising] = {"base": BASE, "distill": DISTILL}
WAN_FILE = "Wan2.2_VAE.pth"
TURBO_SETTINGS, TURBO_FILE = "TurboV3-Wan22-TinyShallow_7_7.json", "checkpoint-340000.ckpt"
LAYERS = "block.layers."
"""Starts the names of a Transformer's layers."""
EMA = "ema_state_dict.module."
"""Starts the names of the averaged weights in the turbo decoder's checkpoint."""
TEXT_WORKING = 2**30
"""Bytes that the text encoder takes at most beside its weights: 640 rows of 14,336 values and their scores."""
T5GEMMA_9B = {
    "encoder": {
        "vocab_size": 256_000,
        "hidden_size": 3584,
        "intermediate_size": 14_336,
        "num_hidden_layers": 42,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
    }
}
"""Sizes of the published text encoder, to plan with before its own config.json is here."""
HD = 1280 * 720
"""Pixels from which a render takes the super-resolution model that was made for 1080p."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which models make a clip, and in which format their Transformers are kept."""

    kind: str
    """"base" or "distill"."""
    generator: PublicWeights
    enlarger: PublicWeights | None
    """The super-resolution model, if the clip is rendered."""
    number_format: str = "bf16"

    @property
    def enlarger_kind(self) -> str:
        assert self.enlarger is not None
        return self.enlarger.model.name.removeprefix("magihuman-")


def choose(name: str, request: PublicRequest, number_format: str = "bf16") -> Choice:
    """The models that a request needs. Raises WeightsError, with the command that gets it, for what is not here."""
    kind = kind_of(name)
    enlarger = public(f"magihuman-{enlarger_for(request.large)}") if request.large else None
    return Choice(kind, public(name), enlarger, number_format)


def kind_of(name: str) -> str:
    """ "base" or "distill". Raises WeightsError for a public model that makes no clips by itself."""
    kind = name.removeprefix("magihuman-")
    if kind not in GENERATORS:
        raise WeightsError(
            f"{name} makes no clips by itself; use magihuman-distill or magihuman-base, with --render for larger ones"
        )
    return kind


def enlarger_for(shape: ClipShape) -> str:
    """Which super-resolution model renders to a size."""
    return "1080p" if shape.width * shape.height > HD else "540p"


# ----------------------------------------------------------------------------------------------------------- pipelines
def load_public(choice: Choice, placement: Plan, device: torch.device) -> PublicPipeline:
    """A pipeline whose modules are read when they are first needed."""
    identity = PublicIdentity(choice.generator.model.name, fingerprint(choice))
    tokenizer = load_tokenizer(choice.generator.folders["text"])
    return PublicPipeline(Turns(placement, sources(choice), device), tokenizer, identity, device)


def placement_for(choice: Choice, request: PublicRequest, images: bool, room: Room) -> Plan:
    """The fastest placement of a request's stages. Raises DeviceMemoryError if there is none."""
    return plan(stages(choice.kind, request, images, choice.number_format, text_config(choice)), room)


def text_config(choice: Choice) -> Path:
    return choice.generator.folders["text"] / "config.json"


def fingerprint(choice: Choice) -> str:
    """One hash for all weights, from what was recorded when they were fetched: 16 hex digits."""
    weights = [choice.generator, *([choice.enlarger] if choice.enlarger else [])]
    folders = sorted({folder for entry in weights for folder in entry.folders.values()})
    records = [(folder / "parts.json").read_bytes() for folder in folders if (folder / "parts.json").is_file()]
    return hashlib.sha256(b"".join([*records, choice.number_format.encode()])).hexdigest()[:16]


# ------------------------------------------------------------------------------------------------------ what is needed
def stages(
    kind: str, request: PublicRequest, images: bool, number_format: str, text: Path | Mapping[str, Any]
) -> list[Stage]:
    """What every stage of a request needs; ``text`` is the text encoder's configuration."""
    change = _change(number_format)
    encoder = build_encoder(text)
    shape, last = request.shape, request.large or request.shape
    found = [module_stage("text", encoder, TEXT_WORKING, text_layers(encoder))]
    if images:
        found.append(_image_stage(last))
    passes = request.denoising.steps * (2 if request.denoising.guided else 1)
    found.append(
        transformer_stage("generate", public_transformer(kind), shape, TOKEN_LIMIT, change=change, passes=passes)
    )
    if request.large:
        config = public_transformer(enlarger_for(request.large))
        found.append(
            transformer_stage("render", config, request.large, TOKEN_LIMIT, change=change, passes=SHIPPED.steps)
        )
    return [*found, _picture_stage(last), _sound_stage(shape)]


def _change(number_format: str) -> Callable[[Transformer], object] | None:
    return (lambda model: quantise(model, number_format)) if number_format in KINDS else None


def _image_stage(shape: ClipShape) -> Stage:
    frame = (1, 3, 1, shape.height, shape.width)
    return built_stage("image", _wan, lambda codec: codec.encode(torch.empty(frame)), torch.bfloat16)


def _picture_stage(shape: ClipShape) -> Stage:
    def work(codec: TurboDecoder) -> None:
        for _ in codec.decode_chunks(torch.empty(1, 48, *shape.latent_size), CHUNK):
            pass

    return built_stage("picture", _turbo, work, torch.bfloat16)


def _sound_stage(shape: ClipShape) -> Stage:
    latents = (1, shape.audio_latents, 64)
    return built_stage("sound", _oobleck, lambda codec: codec.decode(torch.empty(latents)))


def _wan() -> WanVideoCodec:
    return WanVideoCodec(WanConfig(decoder=False))


def _turbo() -> TurboDecoder:
    return TurboDecoder()


def _oobleck() -> StableAudioCodec:
    return StableAudioCodec(OobleckConfig())


def _on_meta(build: Callable[[], nn.Module], dtype: torch.dtype = torch.float32) -> nn.Module:
    with default_dtype(dtype), torch.device("meta"):
        return build()


# -------------------------------------------------------------------------------------------------- where it comes from
def sources(choice: Choice) -> dict[str, Source]:
    """How every stage's module is read."""
    folders = choice.generator.folders
    found = {
        "text": Source(
            lambda device: load_text(folders["text"], device),
            text_layers,
            lambda device: file_text(folders["text"], device),
        ),
        "image": Source(lambda device: load_image(folders["video"], device)),
        "generate": _transformer_source(choice.generator, choice.kind, choice.number_format),
        "picture": Source(lambda device: load_picture(folders["turbo"], device)),
        "sound": Source(lambda device: load_sound(folders["audio"], device)),
    }
    if choice.enlarger:
        found["render"] = _transformer_source(choice.enlarger, choice.enlarger_kind, choice.number_format)
    return found


def _transformer_source(weights: PublicWeights, kind: str, number_format: str) -> Source:
    asked = weights.folders["transformer"], weights.model.name, kind, number_format
    return Source(
        lambda device: load_transformer(*asked, device),
        transformer_layers,
        lambda device: file_transformer(*asked, device),
    )


def transformer_layers(model: Any) -> nn.ModuleList:
    return model.block.layers


def text_layers(encoder: Any) -> nn.ModuleList:
    return encoder.encoder.layers


def load_transformer(folder: Path, name: str, kind: str, number_format: str, device: torch.device) -> nn.Module:
    """A published Transformer; in a format other than bf16 the copy that ``happyhorse convert`` made.

    Raises WeightsError if there is no such copy.
    """
    source, config = transformer_files(folder, name, kind, number_format)
    model = blank(config, number_format)
    stream_into(model, source, device=device)
    chunk_rows(model.block.layers, ROWS)
    return model.eval().requires_grad_(False)


def file_transformer(
    folder: Path, name: str, kind: str, number_format: str, device: torch.device
) -> tuple[nn.Module, Stream]:
    """The same, its layers left in their files; the rest is in host memory."""
    source, config = transformer_files(folder, name, kind, number_format)
    model, reader = blank(config, number_format), open_checkpoint(source)
    chunk_rows(model.block.layers, ROWS)
    stream = file_layers(
        model.block.layers, lambda index, own: f"{LAYERS}{index}.{plain_name(own)}", reader.read, device
    )
    stream_into(model, source, device=HOST, names=lambda stored: None if stored.startswith(LAYERS) else stored)
    return model.eval().requires_grad_(False), stream


def transformer_files(folder: Path, name: str, kind: str, number_format: str) -> tuple[Path, ModelConfig]:
    """Where a Transformer's numbers are in a format, and its configuration."""
    copy, config = converted_folder(name, number_format), public_transformer(kind)
    if copy.is_dir():
        own, found = open_converted(copy)
        if found != number_format or own.replace(weight_dtype=config.weight_dtype) != config:
            raise WeightsError(f"{copy} is not {name} in {number_format}; remove it and convert again")
        return copy, own
    if number_format != "bf16":
        raise WeightsError(
            f"{name} is not here in {number_format}; make it with: happyhorse convert {name} --format {number_format}"
        )
    return folder, config


def load_text(folder: Path, device: torch.device) -> nn.Module:
    """The encoder half of T5Gemma, in bfloat16."""
    encoder = build_encoder(folder / "config.json")
    stream_into(encoder, folder, device=device, names=t5gemma_names(open_checkpoint(find_weights(folder)).names))
    return encoder


def file_text(folder: Path, device: torch.device) -> tuple[nn.Module, Stream]:
    """The same, its layers left in their files; the rest is in host memory."""
    encoder, reader = build_encoder(folder / "config.json"), open_checkpoint(find_weights(folder))
    stored = {own: name for name, own in t5gemma_names(reader.names).items()}
    layers = "encoder.layers."
    stream = file_layers(text_layers(encoder), lambda index, own: stored[f"{layers}{index}.{own}"], reader.read, device)
    rest = {name: own for own, name in stored.items() if not own.startswith(layers)}
    stream_into(encoder, folder, device=HOST, names=rest)
    return encoder, stream


def load_tokenizer(folder: Path) -> PromptTokenizer:
    """The tokenizer of T5Gemma. Raises WeightsError if its files are not there or damaged."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingToolError("prompts are read by transformers: pip install 'happyhorse[magihuman]'") from error
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{folder} holds no readable tokenizer ({str(error).splitlines()[0]}); pull it again"
        ) from error


def load_image(folder: Path, device: torch.device) -> nn.Module:
    """The half of the Wan 2.2 codec that encodes, in bfloat16."""
    codec = _on_meta(_wan, torch.bfloat16)
    path = folder / WAN_FILE
    stream_into(codec, path, device=device, names=wan_names(open_checkpoint(path).names, decoder=False))
    return codec


def load_picture(folder: Path, device: torch.device) -> nn.Module:
    """The turbo decoder's averaged weights, in bfloat16."""
    config = load_turbo_config(folder / TURBO_SETTINGS)
    decoder = _on_meta(lambda: TurboDecoder(config), torch.bfloat16)

    def name(stored: str) -> str | None:
        own = stored.removeprefix(EMA)
        return own if stored.startswith(EMA) and own.startswith("decoder.") else None

    stream_into(decoder, folder / TURBO_FILE, device=device, names=name)
    assert isinstance(decoder, TurboDecoder)
    return decoder.channels_last().eval().requires_grad_(False)


def load_turbo_config(path: Path) -> TurboConfig:
    """Raises WeightsError if the settings cannot be read."""
    try:
        return config_from_json(json.loads(path.read_text("utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path} cannot be read as JSON ({error}); pull it again") from error


def load_sound(folder: Path, device: torch.device) -> nn.Module:
    """The Stable Audio codec, in float32."""
    codec = _on_meta(_oobleck)
    path = find_weights(folder)
    stream_into(codec, path, device=device, names=oobleck_names(open_checkpoint(path).names))
    return codec
