import re

import pytest

from happyhorse.errors import WeightsError
from happyhorse.weights.catalogue import MODELS, Part, PublicModel
from happyhorse.weights.kept import WantedFile, is_content, part_folder, read_record, remove, state, verify

BASE = Part("base", "lab/horse", ("*",), "Apache-2.0")
TEXT = Part("text", "shop/words", ("*",), "Shop terms")
HORSE = PublicModel("horse", "a horse", {"transformer": BASE, "text": TEXT})
FILES = {"a.safetensors": b"a" * 5000, "b.safetensors": b"b" * 7500, "config.json": b"{}"}
WORDS = {"config.json": b"[]", "model.safetensors": b"words"}
TOTAL = 5000 + 7500 + 2 + 2 + 5


@pytest.fixture
def horse(models, lay):
    """The folder in which both parts of HORSE lie."""
    lay(models, BASE, files=FILES)
    lay(models, TEXT, files=WORDS)
    return models


# --------------------------------------------------------------------------------------------------------------- state
def test_a_model_is_complete_when_all_files_of_its_records_are_here(horse):
    now = state(HORSE)
    assert (now.kind, now.files, now.wanted, now.bytes, now.missing) == ("complete", 5, 5, TOTAL, ())
    (horse / "text" / "config.json").unlink()
    now = state(HORSE)
    assert (now.kind, now.files, now.wanted, now.bytes, now.missing) == ("partial", 4, 5, TOTAL - 2, ("text",))
    assert str(now) == "partial, 4 of 5 files"


def test_what_is_here_by_default_is_looked_for_in_the_models_folder(models, lay):
    assert state(MODELS[0]).kind == "absent"
    lay(models, *MODELS[0].parts.values())
    assert state(MODELS[0]).kind == "complete"
    assert part_folder(BASE) == models / "base"


@pytest.mark.parametrize("text", ["{", "[]", '{"files": [{"colour": 1}]}', '{"files": 3}', "\xff"])
def test_a_damaged_record_counts_as_none(horse, text):
    assert len(read_record(horse / "base")) == 3
    (horse / "base" / "parts.json").write_text(text, encoding="latin-1")
    assert read_record(horse / "base") == []
    assert str(state(HORSE)) == "lacks base"


def test_content_is_told_by_sha256_or_by_gits_sha1(tmp_path):
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    sha256 = WantedFile("hello", 6, sha256="5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03")
    blob = WantedFile("hello", 6, blob="ce013625030ba8dba906f756967f9e9ca394464a")  # git hash-object
    assert is_content(path, sha256) and is_content(path, blob)
    path.write_bytes(b"hullo\n")
    assert not is_content(path, sha256) and not is_content(path, blob)


# -------------------------------------------------------------------------------------------------------------- verify
def test_every_damaged_file_is_named(horse):
    assert verify(HORSE) == verify(HORSE, quick=True) == []
    flipped = bytearray(FILES["a.safetensors"])
    flipped[77] ^= 1
    (horse / "base" / "a.safetensors").write_bytes(flipped)
    (horse / "base" / "b.safetensors").write_bytes(FILES["b.safetensors"][:100])
    (horse / "text" / "config.json").unlink()
    quick = ["base/b.safetensors is truncated: 100 bytes instead of 7500", "text/config.json is missing"]
    assert verify(HORSE, quick=True) == quick
    seen = []
    found = verify(HORSE, progress=lambda *said: seen.append(said))
    assert found[1:] == quick and re.fullmatch(
        r"base/a\.safetensors is damaged: its hash is not \w{16}\.\.\.", found[0]
    )
    assert [said[1] for said in seen] == [TOTAL] * 5
    assert state(HORSE).kind == "partial"


def test_a_file_that_was_mended_by_hand_counts_again(horse):
    (horse / "base" / "a.safetensors").write_bytes(bytes(5000))
    assert verify(HORSE) and verify(HORSE, quick=True)
    (horse / "base" / "a.safetensors").write_bytes(FILES["a.safetensors"])
    assert verify(HORSE) == [] and state(HORSE).kind == "complete"


def test_a_part_that_was_never_pulled_is_named(models, lay):
    lay(models, BASE)
    assert verify(HORSE) == ["text was never pulled"]


def test_nothing_to_verify_or_remove(tmp_path):
    with pytest.raises(WeightsError, match="nothing of horse is here; get it with: happyhorse pull horse"):
        verify(HORSE, folder=tmp_path)
    with pytest.raises(WeightsError, match="nothing of horse is in"):
        remove(HORSE, folder=tmp_path)


# -------------------------------------------------------------------------------------------------------------- remove
def test_shared_parts_stay_while_another_model_uses_them(tmp_path, lay):
    base, distill, enlarger, _ = MODELS
    lay(tmp_path, *base.parts.values(), *distill.parts.values(), *enlarger.parts.values())
    done = remove(base, folder=tmp_path)
    assert (done.parts, done.bytes) == (("magihuman-base",), 100)
    assert done.kept == dict.fromkeys(("t5gemma", "wan-vae", "turbo-vae", "stable-audio"), ("magihuman-distill",))
    assert state(base, tmp_path).missing == ("magihuman-base",) and str(state(base, tmp_path)) == "lacks magihuman-base"
    done = remove(distill, folder=tmp_path)
    assert len(done.parts) == 5 and done.bytes == 500 and not done.kept
    assert [path.name for path in tmp_path.iterdir()] == ["magihuman-540p"]


def test_a_model_that_was_only_begun_keeps_its_shared_parts_as_well(tmp_path, lay):
    base, distill, *_ = MODELS
    lay(tmp_path, *distill.parts.values())
    lay(tmp_path, base.parts["transformer"], whole=False)
    assert remove(distill, folder=tmp_path).parts == ("magihuman-distill",)


def test_a_shared_part_is_removed_only_by_force(tmp_path, lay):
    distill = MODELS[1]
    lay(tmp_path, *distill.parts.values())
    text = PublicModel("t5gemma", "", {"text": distill.parts["text"]})
    with pytest.raises(WeightsError, match=r"t5gemma is used by magihuman-distill; .*rm magihuman-distill.*--force"):
        remove(text, folder=tmp_path)
    assert remove(text, force=True, folder=tmp_path).parts == ("t5gemma",)
    assert state(distill, tmp_path).missing == ("t5gemma",)
