import pytest

from happyhorse.config import magihuman_15b
from happyhorse.errors import WeightsError
from happyhorse.model.transformer import Transformer
from happyhorse.weights.catalogue import (
    INDEX,
    MODELS,
    SHARED,
    T5GEMMA,
    Part,
    PublicModel,
    find,
    models_folder,
    readable,
)

PUBLISHED = [
    "README.md",
    *(f"base/model-{i:05}-of-00007.safetensors" for i in range(1, 8)),
    "base/model.safetensors.index.json",
    *(f"distill/model-{i:05}-of-00013.safetensors" for i in range(1, 14)),
    "distill/model.safetensors.index.json",
    "turbo_vae/TurboV3-Wan22-TinyShallow_7_7.json",
    "turbo_vae/checkpoint-340000.ckpt",
]


def part(name, role="transformer"):
    return find(name).parts[role]


def test_a_part_wants_the_files_of_its_own_folder():
    assert len(part("magihuman-base").wanted(PUBLISHED)) == 8
    assert part("magihuman-distill").wanted(PUBLISHED)[-1] == INDEX
    assert len(part("magihuman-distill").wanted(PUBLISHED)) == 14
    assert part("turbo-vae", "turbo").wanted(PUBLISHED) == [name[10:] for name in PUBLISHED[-2:]]


def test_a_pattern_stays_in_its_folder_and_optional_files_may_be_missing():
    words = Part("words", "shop/words", ("*.json", "*.bin"), "", optional=("NOTICE",))
    assert words.wanted(["a.json", "old/b.json", "c.bin"]) == ["a.json", "c.bin"]
    assert words.wanted(["NOTICE", "a.json", "c.bin"]) == ["NOTICE", "a.json", "c.bin"]


def test_a_repository_that_lacks_a_file_is_named():
    with pytest.raises(WeightsError, match=r"GAIR/daVinci-MagiHuman holds no 540p_sr/model\*\.safetensors"):
        part("magihuman-540p").wanted(PUBLISHED)
    with pytest.raises(WeightsError, match=r"holds no turbo_vae/checkpoint-340000\.ckpt, which turbo-vae needs"):
        part("turbo-vae", "turbo").wanted(PUBLISHED[:-1])


SHARDS = {
    "model.decoder.layers.0.w": "model-1.safetensors",
    "lm_head.out_proj.weight": "model-1.safetensors",
    "model.decoder.norm.weight": "model-2.safetensors",
    "model.encoder.embed_tokens.weight": "model-2.safetensors",
    "model.encoder.norm.weight": "model-3.safetensors",
}
NAMES = ["config.json", INDEX, "model-1.safetensors", "model-2.safetensors", "model-3.safetensors"]


def test_files_of_the_decoder_alone_are_passed_over():
    assert T5GEMMA.narrowed(NAMES, SHARDS) == [name for name in NAMES if name != "model-1.safetensors"]
    bare = {tensor.removeprefix("model."): file for tensor, file in SHARDS.items()}
    assert T5GEMMA.narrowed(NAMES, bare) == T5GEMMA.narrowed(NAMES, SHARDS)


def test_an_index_that_keeps_the_encoders_words_elsewhere_is_not_narrowed_by():
    shared = {tensor.replace("encoder.embed", "decoder.embed"): file for tensor, file in SHARDS.items()}
    assert T5GEMMA.narrowed(NAMES, shared) == NAMES


def test_the_index_says_which_weights_belong_together():
    base = part("magihuman-base")
    assert base.narrowed([INDEX, "model.safetensors", "model-1.safetensors"], {"a": "model-1.safetensors"}) == [
        INDEX,
        "model-1.safetensors",
    ]
    with pytest.raises(WeightsError, match=r"index of magihuman-base names model-2\.safetensors, which GAIR"):
        base.narrowed([INDEX, "model-1.safetensors"], {"a": "model-1.safetensors", "b": "model-2.safetensors"})


def test_names_lead_to_models_and_shared_parts():
    assert [model.name for model in MODELS] == [
        "magihuman-base",
        "magihuman-distill",
        "magihuman-540p",
        "magihuman-1080p",
    ]
    for shared in SHARED:
        assert find(shared.name).parts == {role: find("magihuman-base").parts[role] for role in shared.parts}
    assert find("magihuman-1080p").beside == ("magihuman-base", "magihuman-distill")
    assert set(find("magihuman-1080p").parts) == {"transformer"}
    with pytest.raises(WeightsError, match=r"'pony'; known are magihuman-base.*stable-audio"):
        find("pony")


def test_parts_have_folders_of_their_own():
    parts = {part.name: part for model in (*MODELS, *SHARED) for part in model.parts.values()}
    assert len(parts) == 8
    for model in MODELS:
        assert all(parts[part.name] == part for part in model.parts.values())


def test_sizes_are_those_of_the_tensors():
    import torch

    with torch.device("meta"):
        tensors = Transformer(magihuman_15b()).state_dict()
    block = {name for name in tensors if name.startswith("block.") and name.endswith(("proj.weight", "qkv.weight"))}
    mixed = sum(tensor.numel() * (2 if name in block else 4) for name, tensor in tensors.items())
    assert part("magihuman-base").bytes == find("magihuman-base").memory == mixed
    assert part("magihuman-distill").bytes == 4 * sum(tensor.numel() for tensor in tensors.values())
    assert find("magihuman-540p").size == "57.0 GiB"


def test_an_unknown_size_is_said():
    known, unknown = Part("a", "", (), "A", bytes=3 * 2**30), Part("b", "", (), "B")
    assert PublicModel("", "", {"text": known, "audio": unknown}).size == "over 3.0 GiB"
    assert PublicModel("", "", {"audio": unknown}).size == "unknown"
    assert PublicModel("", "", {"text": known, "audio": unknown, "video": known}).licences == "A, B"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 * 2**20, "5.0 MiB"), (61_197_676_608, "57.0 GiB")],
)
def test_bytes_for_people(size, text):
    assert readable(size) == text


def test_where_weights_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("HAPPYHORSE_MODELS", raising=False)
    assert models_folder() == tmp_path / ".local" / "share" / "happyhorse" / "models"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert models_folder() == tmp_path / "data" / "happyhorse" / "models"
    monkeypatch.setenv("HAPPYHORSE_MODELS", "~/weights")
    assert models_folder() == tmp_path / "weights"


def test_the_page_with_the_terms_is_on_the_hub_that_is_used():
    assert T5GEMMA.page("http://mirror.test") == "http://mirror.test/google/t5gemma-9b-9b-ul2"
