"""The text encoder: the maths of T5Gemma, names of its whole checkpoint, limits that are said."""

import sys

import pytest
import torch

from happyhorse.codecs.t5gemma import (
    TOKEN_LIMIT,
    T5GemmaText,
    attention_masks,
    build_encoder,
    restore_rotary,
    t5gemma_names,
)
from happyhorse.errors import ConfigError, MissingToolError, PromptError, WeightsError

pytest.importorskip("transformers", minversion="4.54")

HALF = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "sliding_window": 16,
    "rope_theta": 10_000.0,
}


def letters(text: str) -> dict[str, list[int]]:
    """A tokenizer: a mark, and one token for each letter."""
    return {"input_ids": [2, *[3 + ord(letter) % 60 for letter in text]]}


def tiny(**changes) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_encoder({"encoder": {**HALF, **changes}}, "cpu", torch.float32)


@pytest.fixture
def text() -> T5GemmaText:
    return T5GemmaText(letters, tiny())


def published(case, **options) -> T5GemmaText:
    """The golden encoder, built without memory and assigned to; its "tokenizer" gives the golden ids."""
    encoder = build_encoder({"encoder": case.settings["config"]}, dtype=torch.float32, **options)
    weights = {key.removeprefix("w."): value for key, value in case.items() if key.startswith("w.")}
    encoder.load_state_dict({own: weights[name] for name, own in t5gemma_names(weights).items()}, assign=True)
    return T5GemmaText(lambda _: {"input_ids": case["input_ids"][0].tolist()}, encoder)


def test_capped_features_are_those_of_the_public_encoder(golden):
    case = golden("t5gemma_encoder")
    features = published(case, soft_capping=True).batch(["a prompt"])
    assert features.values.dtype == torch.float32
    assert features.lengths.tolist() == [21]
    assert torch.equal(features.values, features.values.half().float())
    assert case.error("features", features.values) < 1e-3  # a unit in the last place of float16
    assert case.relative_l2("features", features.values) < 1e-5


def test_soft_capping_is_left_out_by_default_as_the_published_pipeline_does(golden):
    case = golden("t5gemma_encoder")
    capped, plain = published(case, soft_capping=True), published(case)
    ids = case["input_ids"][0].tolist()
    assert 1e-4 < (capped.features(ids) - plain.features(ids)).abs().max() < 1e-2
    assert torch.equal(plain.features(ids), published(case, soft_capping=False).features(ids))


def test_default_features_are_those_of_the_fast_attention(golden):
    case = golden("t5gemma_encoder")
    plain, fast = published(case), published(case)
    fast.encoder.encoder.config._attn_implementation = "sdpa"  # the default of 4.56; newer ones refuse it by its name
    for ids in (case["input_ids"][0].tolist(), [5, 6, 7] * 20):
        torch.testing.assert_close(plain.features(ids), fast.features(ids), rtol=2e-3, atol=1e-3)


def test_attention_looks_both_ways(text):
    before, after = text.features([5, 6, 7]), text.features([5, 6, 8])
    assert not torch.allclose(before[0], after[0])


def test_a_sliding_layer_sees_less_than_its_window():
    masks = attention_masks(5, 2, torch.zeros(()))
    seen = masks["sliding_attention"] == 0
    assert masks["full_attention"] is None
    assert seen[0, 0].int().tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1],
    ]
    assert attention_masks(5, 5, torch.zeros(()))["sliding_attention"] is None


@pytest.mark.parametrize("soft_capping", [False, True])
def test_two_sliding_layers_reach_twice_as_far_as_one_sees(soft_capping):
    config = {**HALF, "sliding_window": 4, "layer_types": ["sliding_attention"] * 2}
    torch.manual_seed(0)
    text = T5GemmaText(letters, build_encoder({"encoder": config}, "cpu", torch.float32, soft_capping))
    ids = list(range(5, 25))
    changed = (text.features(ids) != text.features([4, *ids[1:]])).any(dim=1)
    assert changed.tolist() == [place <= 2 * 3 for place in range(20)]


def test_batches_equal_singles_and_are_padded_with_zeros(text):
    prompts = ["a red ball", "", "a bell that is much longer than its window"]
    batch = text.batch(prompts)
    assert batch.lengths.tolist() == [11, 1, 43]
    assert batch.values.shape == (3, 43, 32)
    for row, length, prompt in zip(batch.values, batch.lengths.tolist(), prompts, strict=True):
        assert torch.equal(row[:length], text.batch([prompt]).values[0])
        assert not row[length:].any()


def test_a_padding_token_in_a_prompt_is_a_token_like_any_other():
    spelled_out = T5GemmaText(lambda _: {"input_ids": [2, 0, 5]}, tiny())
    assert spelled_out.batch(["<pad>"]).lengths.tolist() == [3]
    assert not torch.allclose(spelled_out.features([2, 0, 5])[0], spelled_out.features([2, 7, 5])[0])


def test_a_tokenizer_of_transformers_will_do():
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 3, "a": 4, "ball": 5}, unk_token="?"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    text = T5GemmaText(transformers.PreTrainedTokenizerFast(tokenizer_object=words), tiny())
    assert text.ids("a red ball") == [4, 3, 5]


def test_the_limit_is_said_and_not_cut(text):
    assert len(text.ids("x" * (TOKEN_LIMIT - 1))) == 640
    with pytest.raises(PromptError, match="641 tokens and the limit is 640"):
        text.batch(["short", "x" * TOKEN_LIMIT])


def test_a_prompt_without_tokens_is_refused():
    with pytest.raises(PromptError, match="empty"):
        T5GemmaText(lambda _: {"input_ids": []}, tiny()).batch([""])


def test_features_past_float16_are_refused(text):
    text.encoder.encoder.norm.weight.fill_(1e6)
    with pytest.raises(PromptError, match="65,504"):
        text.batch(["a ball"])


def test_captions_are_refused(text):
    with pytest.raises(ConfigError, match="reads the features"):
        text.captions(["a ball"])


def whole_model():
    """A full T5Gemma, encoder and decoder, with random weights everywhere."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    half = {**HALF, "rms_norm_eps": 1e-6}
    sizes = {"encoder": dict(half), "decoder": dict(half), "vocab_size": 64}
    config = transformers.T5GemmaConfig(**sizes, attn_implementation="eager")
    model = transformers.T5GemmaForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@torch.no_grad()
def test_a_whole_checkpoint_loads_into_the_encoder_alone(tmp_path):
    from safetensors.torch import load_file

    model = whole_model()
    model.save_pretrained(tmp_path)
    file = load_file(tmp_path / "model.safetensors")
    assert any(name.startswith("model.decoder.") for name in file)
    encoder = build_encoder(tmp_path / "config.json", dtype=torch.float32, soft_capping=True)
    assert all(parameter.is_meta for parameter in encoder.parameters())
    names = t5gemma_names(file)
    assert set(names.values()) == set(encoder.state_dict())
    encoder.load_state_dict({own: file[name] for name, own in names.items()}, assign=True)
    ids = [2, 9, 33, 8, 1]
    expected = model.model.encoder(input_ids=torch.tensor([ids])).last_hidden_state[0]
    assert torch.equal(T5GemmaText(letters, encoder).features(ids), expected.half().float())


def test_names_of_the_bare_model_and_of_the_encoder_alone():
    names = ["encoder.norm.weight", "decoder.norm.weight", "lm_head.out_proj.weight"]
    assert t5gemma_names(names) == {"encoder.norm.weight": "encoder.norm.weight"}
    assert t5gemma_names([f"model.{name}" for name in names[:2]]) == {
        "model.encoder.norm.weight": "encoder.norm.weight"
    }
    with pytest.raises(WeightsError, match=r"block\.0\.weight is no tensor of a T5Gemma"):
        t5gemma_names([*names, "block.0.weight"])


def test_rotary_frequencies_are_real_after_a_build_without_memory():
    encoder = build_encoder({"encoder": HALF})
    buffers = dict(encoder.named_buffers())
    assert buffers, "the encoder has buffers that no file holds"
    assert encoder.dtype == torch.bfloat16
    for buffer in buffers.values():
        expected = 10_000.0 ** (-torch.arange(4) / 4)
        torch.testing.assert_close(buffer, expected, rtol=1e-6, atol=0)


def test_rotary_frequencies_come_back_after_a_cast():
    encoder = build_encoder({"encoder": HALF}).to(torch.bfloat16)
    assert {buffer.dtype for buffer in encoder.buffers()} == {torch.bfloat16}
    with torch.device("meta"):
        restore_rotary(encoder, "cpu")
    assert {(buffer.dtype, buffer.device.type) for buffer in encoder.buffers()} == {(torch.float32, "cpu")}


def test_configurations_that_are_none_are_refused(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(WeightsError, match="cannot be read"):
        build_encoder(path)
    path.write_text("{")
    with pytest.raises(WeightsError, match="cannot be read as JSON"):
        build_encoder(path)
    path.write_text('["encoder"]')
    with pytest.raises(WeightsError, match='no field "encoder"'):
        build_encoder(str(path))
    with pytest.raises(WeightsError, match='no field "encoder"'):
        build_encoder({"model_type": "llama"})


def test_missing_transformers_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingToolError, match=r"pip install -U 'happyhorse\[magihuman\]'"):
        build_encoder({"encoder": HALF})
