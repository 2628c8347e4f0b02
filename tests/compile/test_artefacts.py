"""Packages of compiled code: loaded they give the plain model's numbers, and what does not fit is never run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from happyhorse.compile import artefacts
from happyhorse.compile.accelerate import EAGER, Accelerated, Packages, abis, accelerate
from happyhorse.compile.capture import Form
from happyhorse.compile.machine import can_compile
from happyhorse.compile.spec import CompileSpec
from happyhorse.config import ModelConfig
from happyhorse.errors import CompileError, MissingToolError, OutputError
from happyhorse.model.transformer import Transformer
from happyhorse.types import ClipShape, Latents, Text

CPU = torch.device("cpu")
SPEC = CompileSpec(scope="full", attention="plain")
PLAIN, PAIR = Form(1, False), Form(2, True)
CONFIG = ModelConfig(
    hidden=16,
    head_dim=8,
    query_heads=2,
    kv_heads=1,
    specific_first=1,
    shared=0,
    specific_last=0,
    text_vocab=50,
    noisy_input="added",
    video_channels=4,
)
TOLERANCE = 1e-5
pytestmark = pytest.mark.timeout(900)  # a C++ compiler on a busy machine
compiled = pytest.mark.skipif(not can_compile(CPU), reason="needs a C++ compiler")


def model(seed: int = 0, config: ModelConfig = CONFIG) -> Transformer:
    torch.manual_seed(seed)
    made = Transformer(config).eval().requires_grad_(False)
    for head in (made.final_linear_video, made.final_linear_audio):
        torch.nn.init.normal_(head.weight, std=0.1)
    return made


def fast(plain: Transformer, build: bool = False, told: list[str] | None = None) -> Accelerated:
    tell = None if told is None else told.append
    return accelerate(plain, SPEC, Packages(plain.config, SPEC, build=build, tell=tell))


def run(stand_in: Accelerated, shape: ClipShape, words: int) -> float:
    """Largest difference of a pass from the plain model's, of the largest number."""
    video = torch.randn(1, 4, *shape.latent_size)
    latents = Latents(video, torch.randn(1, shape.audio_latents, 64))
    with torch.inference_mode():
        text = stand_in.encode_text(Text(torch.randint(50, (1, words)), torch.tensor([words])))
        made, plain = stand_in(latents, text), stand_in.plain(latents, text)
    return float((made.video - plain.video).abs().max() / plain.video.abs().max())


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """The package of the small model, made once for all tests."""
    plain = model()
    stand_in = accelerate(plain, SPEC)
    (abi,) = abis(stand_in.plain, SPEC, PLAIN, CPU)
    folder = tmp_path_factory.mktemp("built")
    Packages(CONFIG, SPEC, build=True, folder=folder).graph(*_parts(stand_in.plain))
    return folder / f"{abi.key}.pt2"


def _parts(plain: Transformer):
    from happyhorse.compile.accelerate import parts

    (module,), tensors, free = parts(plain, SPEC, PLAIN, CPU)
    return module, tensors, free


@pytest.fixture
def at_hand(built, packages) -> Path:
    """The package in the folder where packages are looked for."""
    packages.mkdir()
    return Path(shutil.copy(built, packages))


# ---------------------------------------------------------------------------------------------------------- one fits
@compiled
def test_one_package_serves_every_size_and_all_weights(at_hand):
    for seed in (0, 1):
        stand_in = fast(model(seed))
        for shape, words in ((ClipShape(0.5, 64, 96), 5), (ClipShape(3.0, 160, 96), 11), (ClipShape(1.0, 64, 64), 2)):
            assert run(stand_in, shape, words) < TOLERANCE
            assert (stand_in.way, stand_in.why) == ("compiled", "")


@compiled
def test_a_package_for_each_kind_of_layer_gives_the_same(packages):
    spec = SPEC.replace(scope="block")
    stand_in = accelerate(model(), spec, Packages(CONFIG, spec, build=True))
    for shape, words in ((ClipShape(0.5, 64, 96), 5), (ClipShape(1.0, 64, 64), 2)):
        assert run(stand_in, shape, words) < TOLERANCE
        assert (stand_in.way, stand_in.why) == ("compiled", "")


@compiled
def test_a_package_is_small_and_says_what_it_was_made_for(at_hand):
    assert at_hand.stat().st_size < 200_000
    with zipfile.ZipFile(at_hand) as archive:
        facts = json.loads(archive.read("model/extra/happyhorse.json"))
        assert not [name for name in archive.namelist() if name.endswith(".cpp")]
    assert facts["torch"].startswith(torch.__version__)
    assert facts["config"]["hidden"] == 16
    assert facts["inputs"][:3] == ["float32[1, 4, *, *, *]", "float32[1, *, 64]", "float32[1, *, 1, 3]"]


@compiled
def test_loading_needs_neither_a_compiler_nor_torchs_own(at_hand):
    code = (
        f"import sys; from {Path(__file__).stem} import artefacts, model, fast, run, ClipShape;"
        f"artefacts.sources_hash = lambda: {artefacts.sources_hash()!r}; stand_in = fast(model());"
        "assert run(stand_in, ClipShape(0.5, 64, 96), 5) < 1e-5; assert stand_in.way == 'compiled', stand_in.why;"
        "assert 'torch._inductor' not in sys.modules and 'torch._dynamo' not in sys.modules"
    )
    surroundings = {**os.environ, "PATH": "", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------- what does not fit
@compiled
def test_a_damaged_package_is_not_run(at_hand):
    data = bytearray(at_hand.read_bytes())
    data[len(data) // 2] ^= 0xFF
    at_hand.write_bytes(data)
    stand_in = fast(model())
    assert run(stand_in, ClipShape(0.5, 64, 96), 5) == 0.0
    assert stand_in.way == EAGER and "damaged" in stand_in.why


@compiled
def test_half_a_package_is_not_run(at_hand):
    at_hand.write_bytes(at_hand.read_bytes()[:5000])
    stand_in = fast(model())
    assert run(stand_in, ClipShape(0.5, 64, 96), 5) == 0.0
    assert stand_in.way == EAGER and "no compiled package" in stand_in.why


@compiled
def test_a_package_under_anothers_name_is_refused_by_what_differs(at_hand):
    other = model(config=CONFIG.replace(rotary_top=2.0))
    (abi,) = abis(accelerate(other, SPEC).plain, SPEC, PLAIN, CPU)
    at_hand.rename(at_hand.with_name(f"{abi.key}.pt2"))
    stand_in = fast(other)
    assert run(stand_in, ClipShape(0.5, 64, 96), 5) == 0.0
    assert stand_in.why.endswith("was made for something else: config differ")


@compiled
def test_a_damaged_package_is_made_again_where_building_is_allowed(at_hand, built, monkeypatch):
    monkeypatch.setattr(artefacts, "_compile", lambda *arguments: built)
    at_hand.write_bytes(b"nothing")
    told: list[str] = []
    stand_in = fast(model(), build=True, told=told)
    assert run(stand_in, ClipShape(0.5, 64, 96), 5) < TOLERANCE
    assert stand_in.way == "compiled"
    assert "it is made again" in told[0]


@pytest.mark.parametrize(
    "change",
    [
        {"torch.version.git_version": "0"},
        {"happyhorse.compile.artefacts.sources_hash": lambda: "0"},
        {"happyhorse.compile.artefacts.processor": lambda device: "another"},
    ],
)
def test_what_code_depends_on_is_in_its_name(monkeypatch, change):
    plain = model()
    (before,) = abis(plain, SPEC, PLAIN, CPU)
    for name, value in change.items():
        monkeypatch.setattr(name, value)
    (after,) = abis(plain, SPEC, PLAIN, CPU)
    assert before.key != after.key


def test_forms_specs_and_number_formats_have_packages_of_their_own():
    plain, half = model(), model(config=CONFIG.replace(weight_dtype="bfloat16"))
    found = [abis(plain, SPEC, PLAIN, CPU), abis(plain, SPEC, PAIR, CPU), abis(half, SPEC, PLAIN, CPU)]
    found.append(abis(plain, SPEC.replace(attention="dense"), PLAIN, CPU))
    assert len({abi.key for (abi,) in found}) == 4


def test_alike_layers_share_a_package_and_local_ones_do_not():
    blocks = SPEC.replace(scope="block")
    deep = CONFIG.replace(shared=4, specific_last=1)
    assert len(abis(model(config=deep), blocks, PLAIN, CPU)) == 3
    near = deep.replace(local_layers=(2,), receptive_field=1)
    assert len(abis(model(config=near), blocks, Form(1, False, 4), CPU)) == 4


def test_a_pass_that_nothing_is_packaged_for_is_served_eagerly():
    stand_in = fast(model())
    assert run(stand_in, ClipShape(0.5, 64, 96), 5) == 0.0
    assert stand_in.why == "no package is at hand for it"


# ------------------------------------------------------------------------------------------------------- building
class Fixed(nn.Module):
    """Can be traced for three rows only."""

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return tensors[0] + torch.ones(3, 1)


class Few(nn.Module):
    """Does something else from ten rows on."""

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return 2 * tensors[0] if tensors[0].shape[0] < 10 else tensors[0]


@pytest.mark.parametrize("module", [Fixed(), Few()])
def test_a_size_that_tracing_has_fixed_or_bounded_is_not_passed_over(module, tmp_path):
    with pytest.raises(CompileError, match="dimension 0 of tensors_0 came out as .* but must be open"):
        artefacts._compile(module, [torch.zeros(3, 2)], ((0,),), tmp_path / "model.pt2")


def test_without_a_compiler_building_is_refused_in_a_line(monkeypatch, packages):
    monkeypatch.setenv("PATH", "")
    module, tensors, free = _parts(model())
    abi = artefacts.abi_of(module, CONFIG, SPEC, tensors, free)
    with pytest.raises(MissingToolError, match=r"needs a C\+\+ compiler, which is not installed"):
        artefacts.build(module, tensors, free, abi)
    assert not packages.exists()


@compiled
def test_a_package_is_written_whole_or_not_at_all(built, packages, disk_of, monkeypatch):
    monkeypatch.setattr(artefacts, "_compile", lambda *arguments: built)
    module, tensors, free = _parts(accelerate(model(), SPEC).plain)
    abi = artefacts.abi_of(module, CONFIG, SPEC, tensors, free)
    with disk_of(1000), pytest.raises(OutputError):
        artefacts.build(module, tensors, free, abi)
    assert list(packages.iterdir()) == []
