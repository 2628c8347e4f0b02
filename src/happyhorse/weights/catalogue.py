"""The public weights of the 15.3 B design: which files of which repositories make a model, and where they lie here.

Facts are those of the published listing; nothing here looks at the network or the disk. ``hub`` fetches, ``registry``
resolves names.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from happyhorse.errors import WeightsError

Role = Literal["transformer", "text", "video", "turbo", "audio"]
Gate = Literal["open", "perhaps", "gated"]

INDEX = "model.safetensors.index.json"
"""Names the file of every tensor, where weights are spread over several."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Files out of one repository that are fetched together, into a folder that is called by the part's name."""

    name: str
    repo: str
    """OWNER/NAME on the hub."""
    files: tuple[str, ...]
    """Names and patterns, as seen from ``prefix``; for each of them there must be a file. ``*`` stays in its folder."""
    licence: str
    prefix: str = ""
    """Folder inside the repository with a slash at its end, or empty."""
    optional: tuple[str, ...] = ()
    """Names and patterns that are fetched too if they are there."""
    bytes: int | None = None
    """About how much there is to fetch; None if it is only known once the hub was asked."""
    gate: Gate = "open"
    """Whether the terms must be accepted on the repository's page first."""
    hashes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """SHA-256 by file name, where it is known in advance; else it is the hub's own."""
    unused: tuple[str, ...] = ()
    """How the names of tensors begin that nothing here reads."""
    vital: str = ""
    """How the name of a tensor ends that is read. ``unused`` is believed only of an index that has it."""
    revision: str = "main"

    def page(self, endpoint: str) -> str:
        """Where people read and accept the terms."""
        return f"{endpoint}/{self.repo}"

    def wanted(self, names: Iterable[str]) -> list[str]:
        """Of the repository's file names those that belong to the part, without the prefix, sorted.

        Raises WeightsError naming what the repository lacks.
        """
        inside = [name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix)]
        for pattern in self.files:
            if not any(_matches(name, pattern) for name in inside):
                raise WeightsError(
                    f"{self.repo} holds no {self.prefix}{pattern}, which {self.name} needs; "
                    "the repository has changed, or HF_ENDPOINT leads to another hub"
                )
        patterns = (*self.files, *self.optional)
        return sorted(name for name in inside if any(_matches(name, pattern) for pattern in patterns))

    def narrowed(self, names: Iterable[str], shards: Mapping[str, str]) -> list[str]:
        """``names`` without the weight files that hold nothing but unused tensors.

        shards: tensor name to file name, as the index has it. Raises WeightsError if it names a file that is not in
        ``names``.
        """
        read = {tensor: file for tensor, file in shards.items() if not tensor.startswith(self.unused)}
        if not any(tensor.endswith(self.vital) for tensor in read):
            read = dict(shards)
        names = list(names)
        if lacking := sorted(set(read.values()) - set(names)):
            raise WeightsError(f"the index of {self.name} names {lacking[0]}, which {self.repo} does not hold")
        weights = {name for name in names if name.endswith(".safetensors")}
        return [name for name in names if name not in weights or name in read.values()]


def _matches(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern)


@dataclasses.dataclass(frozen=True)
class PublicModel:
    """Something that can be pulled by name: a model, or a part that several models share."""

    name: str
    summary: str
    """What it makes, in a line."""
    parts: Mapping[Role, Part]
    beside: tuple[str, ...] = ()
    """Models of which one must be there as well."""
    memory: int = 0
    """Bytes that its largest network takes while it works, in bfloat16; 0 if it does not work alone."""

    @property
    def bytes(self) -> int:
        """About how much there is to fetch, as far as it is known in advance."""
        return sum(part.bytes or 0 for part in self.parts.values())

    @property
    def size(self) -> str:
        """``bytes`` for people; "over" if the size of a part is not known in advance."""
        known = all(part.bytes is not None for part in self.parts.values())
        if known or self.bytes:
            return ("" if known else "over ") + readable(self.bytes)
        return "unknown"

    @property
    def licences(self) -> str:
        """Licences of its parts, each once."""
        return ", ".join(dict.fromkeys(part.licence for part in self.parts.values()))


def readable(size: float) -> str:
    """Bytes for people: "28.5 GiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


_MAGIHUMAN = "GAIR/daVinci-MagiHuman"
_MIXED, _FLOAT32 = 30_642_008_128, 61_197_676_608
"""Bytes of a Transformer's 331 tensors: block matrices in bfloat16 and the rest in float32, or all in float32."""


def _transformer(name: str, folder: str, size: int) -> Part:
    return Part(
        name=name,
        repo=_MAGIHUMAN,
        prefix=f"{folder}/",
        files=("model*.safetensors",),
        optional=(INDEX, "config.json"),
        bytes=size,
        licence="Apache-2.0",
        gate="perhaps",
    )


T5GEMMA = Part(
    name="t5gemma",
    repo="google/t5gemma-9b-9b-ul2",
    files=("config.json", "tokenizer*", "model*.safetensors"),
    optional=(INDEX, "special_tokens_map.json", "added_tokens.json"),
    # Both halves; the decoder's own files, about half of it, are passed over where the index tells them apart.
    bytes=40_694_815_130,
    licence="Gemma terms of use",
    gate="gated",
    unused=("model.decoder.", "decoder.", "lm_head."),
    vital="encoder.embed_tokens.weight",
)
WAN_VAE = Part(
    name="wan-vae",
    repo="Wan-AI/Wan2.2-TI2V-5B",
    files=("Wan2.2_VAE.pth",),
    bytes=2_818_754_672,
    licence="Apache-2.0",
)
TURBO_VAE = Part(
    name="turbo-vae",
    repo=_MAGIHUMAN,
    prefix="turbo_vae/",
    files=("TurboV3-Wan22-TinyShallow_7_7.json", "checkpoint-340000.ckpt"),
    bytes=1_868_310_774,
    licence="Apache-2.0",
    gate="perhaps",
)
STABLE_AUDIO = Part(
    name="stable-audio",
    repo="stabilityai/stable-audio-open-1.0",
    files=("model_config.json", "model.safetensors"),
    licence="Stability AI Community License",
    gate="gated",
)
_SHARED: dict[Role, Part] = {"text": T5GEMMA, "video": WAN_VAE, "turbo": TURBO_VAE, "audio": STABLE_AUDIO}


def _generator(name: str, summary: str, folder: str, size: int) -> PublicModel:
    return PublicModel(name, summary, {"transformer": _transformer(name, folder, size), **_SHARED}, memory=_MIXED)


def _enlarger(name: str, summary: str, folder: str) -> PublicModel:
    beside = ("magihuman-base", "magihuman-distill")
    return PublicModel(name, summary, {"transformer": _transformer(name, folder, _FLOAT32)}, beside, _MIXED)


MODELS = (
    _generator("magihuman-base", "free text to video and sound, 32 steps with guidance", "base", _MIXED),
    _generator("magihuman-distill", "the same in 8 steps without guidance", "distill", _FLOAT32),
    _enlarger("magihuman-540p", "clips of base or distill enlarged to 896x512", "540p_sr"),
    _enlarger("magihuman-1080p", "clips of base or distill enlarged to 1920x1088", "1080p_sr"),
)
SHARED = (
    PublicModel("t5gemma", "reads prompts (shared)", {"text": T5GEMMA}),
    PublicModel("wan-vae", "image to latents, and the slow way back (shared)", {"video": WAN_VAE}),
    PublicModel("turbo-vae", "latents to frames, the quick way (shared)", {"turbo": TURBO_VAE}),
    PublicModel("stable-audio", "sound to latents and back (shared)", {"audio": STABLE_AUDIO}),
)


def find(name: str) -> PublicModel:
    """What is pulled by that name. Raises WeightsError, listing the names, if there is none."""
    for model in (*MODELS, *SHARED):
        if model.name == name:
            return model
    known = ", ".join(model.name for model in (*MODELS, *SHARED))
    raise WeightsError(f"there are no public weights called {name!r}; known are {known}")


def models_folder() -> Path:
    """Where public weights lie, a folder for each part: HAPPYHORSE_MODELS, or models in the user's data folder."""
    if asked := os.environ.get("HAPPYHORSE_MODELS"):
        return Path(asked).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "happyhorse" / "models"
